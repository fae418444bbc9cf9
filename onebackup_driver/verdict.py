# SPDX-License-Identifier: Apache-2.0
"""What a VM's owner is told about a BACKUP section: whether it is good, and when the next backup is."""

from __future__ import annotations

from typing import Optional

from onebackup_driver import policy, records, units, window
from onebackup_driver.policy import Policy
from onebackup_driver.site_rules import Configuration
from onebackup_driver.xml_values import Vector

DUE_NOW = "with the next run"
NEVER = "never: its WINDOW and the site's are never open together"
NOT_ASKED = "its BACKUP section was taken away: it is not backed up"
#: Says that MESSAGE is about the BACKUP section, not about a backup that was tried.
_MARK = "VERDICT"


def next_backup(rules: Policy, site: Configuration, now: int) -> str:
    """When the next backup is, in words: when the VM is due and the windows are open."""
    due = policy.due(rules, now)
    wanted = now if due.due else due.at
    opens = window.next_common([window.parse(site.window, site.time_zone), rules.window], wanted)
    if opens is None:
        return NEVER
    return DUE_NOW if opens <= now else units.local_time(opens)


def changed(told: Optional[Vector], problem: str, next_time: str) -> Optional[Vector]:
    """The ONEBACKUP to write, or None when `told`, the present one, says it already or a backup is running.

    `problem` is empty for a good section, whose next backup is at `next_time`. What a backup left there (its error, its
    restore point) is kept.
    """
    old = dict(told or {})
    if old.get("STATE") == records.RUNNING:
        return None
    about_section = _MARK in old
    if problem:
        if about_section and old.get("MESSAGE") == problem:
            return None
        kept = {key: value for key, value in old.items() if key != "NEXT_BACKUP"}
        return {**kept, "STATE": records.ERROR, "MESSAGE": problem, _MARK: records.ERROR}
    if old.get("NEXT_BACKUP") == next_time:
        return None
    new = {key: value for key, value in old.items() if key != _MARK}
    if not old or about_section or old.get("STATE") == records.OK:
        new.update(STATE=records.OK, MESSAGE=f"next backup: {next_time}")
    return {**new, "NEXT_BACKUP": next_time}


def withdrawn(told: Optional[Vector]) -> Optional[Vector]:
    """The ONEBACKUP to write for a VM without a BACKUP section; None when nothing that it says is wrong."""
    old = dict(told or {})
    if old.get("STATE") == records.RUNNING or ("NEXT_BACKUP" not in old and _MARK not in old):
        return None
    new = {key: value for key, value in old.items() if key not in ("NEXT_BACKUP", _MARK)}
    return {**new, "STATE": records.OK, "MESSAGE": NOT_ASKED}
