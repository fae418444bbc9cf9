# SPDX-License-Identifier: Apache-2.0
"""The user behind a call."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.core.acl import Rule


@dataclass(frozen=True)
class Caller:
    """`method` is the call being executed; it prefixes messages and names the request in locks and history. `rules`:
    the ACL rules that are about this user."""

    uid: int
    gid: int
    name: str
    group: str
    groups: tuple[int, ...]
    method: str
    request: int
    rules: tuple[Rule, ...] = ()

    @property
    def is_admin(self) -> bool:
        """oneadmin and members of the oneadmin group skip authorisation."""
        return self.uid == 0 or 0 in self.groups


SYSTEM = Caller(0, 0, "oneadmin", "oneadmin", (0,), "", -1)
