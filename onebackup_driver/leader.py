# SPDX-License-Identifier: Apache-2.0
"""Only one front-end of an HA cluster acts: the one whose oned is the leader (include/RaftManager.h)."""

from __future__ import annotations

import re
from pathlib import Path

from onebackup_driver import errors, xml_values
from onebackup_driver.context import Context

_SOLO, _CANDIDATE, _FOLLOWER, _LEADER = 0, 1, 2, 3
_NAMES = {_CANDIDATE: "a candidate", _FOLLOWER: "a follower"}
_SERVER_ID = re.compile(r"^[^#]*\bSERVER_ID\s*=\s*\"?(-?\d+)", re.MULTILINE)


def obstacle(context: Context) -> str:
    """Why this front-end has to leave the work to another one; empty when it may act.

    Raises Refused when it cannot be told.
    """
    try:
        raft = context.front_end.element("one.zone.raftstatus")
    except errors.CallRefused as error:
        raise errors.Refused(f"cannot tell whether this front-end is the leader, nothing is done: {error}") from error
    state, server = xml_values.number(raft, "STATE"), xml_values.number(raft, "SERVER_ID")
    if state == _SOLO:
        return ""
    if state in _NAMES:
        return f"this front-end is {_NAMES[state]}, not the leader: nothing to do here"
    if state != _LEADER:
        raise errors.Refused(f"cannot tell whether this front-end is the leader (raft STATE {state}), nothing is done")
    here = _own_server_id(context.where.configuration.with_name("oned.conf"))
    if here not in (None, server):
        return f"server {server} answers {context.front_end.endpoint} and is the leader, this is server {here}"
    return ""


def _own_server_id(oned_conf: Path) -> int | None:
    """SERVER_ID of FEDERATION in oned.conf: behind a floating address every node would take itself for the leader."""
    try:
        found = _SERVER_ID.search(oned_conf.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return int(found.group(1)) if found else None
