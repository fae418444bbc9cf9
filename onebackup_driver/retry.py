# SPDX-License-Identifier: Apache-2.0
"""When a VM whose backup failed is tried again: later after each failure, at once when its BACKUP section changed."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Optional

from onebackup_driver.site_rules import Retry
from onebackup_driver.xml_values import Vector

_WRITTEN_BY_US = ("LAST_BACKUP_TIME", "MARKETPLACE_APP_IDS")
_LARGEST_EXPONENT = 30


class Failure(NamedTuple):
    """A row of failures: how many, when the last one was, what it said, and the BACKUP section it was with."""

    times: int
    last: int
    reason: str
    section: str


def section_key(section: Optional[Vector]) -> str:
    """What the user's own part of a BACKUP section is known by."""
    users = sorted((key, value) for key, value in (section or {}).items() if key not in _WRITTEN_BY_US)
    return hashlib.sha256(repr(users).encode()).hexdigest()[:16]


def failed(before: Optional[Failure], now: int, reason: str, section: str) -> Failure:
    """The row after one more failure. A changed section begins a new row."""
    times = before.times + 1 if before is not None and before.section == section else 1
    return Failure(times, now, reason[:500], section)


def pause_s(times: int, rule: Retry) -> int:
    """Seconds to wait after the `times`-th failure in a row."""
    minutes = rule.first_minutes << min(times - 1, _LARGEST_EXPONENT)
    return 60 * min(minutes, max(rule.longest_minutes, rule.first_minutes))


def not_before(failure: Optional[Failure], section: str, now: int, rule: Retry) -> int:
    """The moment of the next attempt; 0 when nothing stands against one. A failure in the future counts as now."""
    if failure is None or failure.section != section:
        return 0
    at = min(failure.last, now) + pause_s(failure.times, rule)
    return at if at > now else 0
