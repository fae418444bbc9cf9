# SPDX-License-Identifier: Apache-2.0
"""Backup windows: `22:00-06:00, 12:30-13:30` in a time zone.

A range is a stretch of real time that opens once on each day when the clock first shows its beginning, also on the
days on which the clocks change: a beginning that the clock skips opens at the moment of the change, an hour that
comes twice opens once.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Optional

_RANGE = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_ZONE = re.compile(r"[A-Za-z0-9+_-]{1,40}(?:/[A-Za-z0-9+_-]{1,40}){0,3}")
_DAY_MINUTES = 24 * 60
_DAYS_AHEAD = 9
_LIMIT_CHARACTERS = 500
_LATEST = 2**62


class Bad(ValueError):
    """The text is not a window, or the time zone is unknown; the message says why in one line."""


@dataclass(frozen=True)
class Range:
    """Minutes of the day; `end` is at or before `begin` when the range goes over midnight."""

    begin: int
    end: int


@dataclass(frozen=True)
class Window:
    """When backups may start. `zone` None is the time zone of this machine. No range at all: always open."""

    ranges: tuple[Range, ...] = ()
    zone: Optional[tzinfo] = None
    text: str = ""

    def open_at(self, now: float) -> bool:
        """Whether the window is open at `now` (seconds since the epoch)."""
        if not self.ranges:
            return True
        return any(begin <= now < end for begin, end in self._openings(now, -1, 1))

    def next_open(self, now: float) -> int:
        """`now` when it is open, else the moment at which it opens next (seconds since the epoch)."""
        if self.open_at(now):
            return int(now)
        return min(begin for begin, _ in self._openings(now, 0, _DAYS_AHEAD) if begin > now)

    def _openings(self, now: float, first: int, last: int) -> Iterator[tuple[int, int]]:
        today = datetime.fromtimestamp(now, self.zone).date()
        for days in range(first, last + 1):
            for item in self.ranges:
                yield self._opening(item, today + timedelta(days=days))

    def _opening(self, item: Range, day: date) -> tuple[int, int]:
        over_midnight = item.end <= item.begin
        end_day = day + timedelta(days=1) if over_midnight else day
        return self._begin(day, item.begin), self._moment(end_day, item.end)

    def _begin(self, day: date, minutes: int) -> int:
        latest = self._moment(day, minutes)
        shown = datetime.fromtimestamp(latest, self.zone).replace(tzinfo=None)
        skipped_s = int((shown - _naive(day, minutes)).total_seconds())
        return self._change(latest - skipped_s, latest) if skipped_s > 0 else latest

    def _change(self, before: int, after: int) -> int:
        """The moment between the two at which the clock was changed."""
        old = self._offset(before)
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (middle, after) if self._offset(middle) == old else (before, middle)
        return after

    def _offset(self, moment: int) -> Optional[timedelta]:
        return datetime.fromtimestamp(moment, self.zone).astimezone(self.zone).utcoffset()

    def _moment(self, day: date, minutes: int) -> int:
        return int(_naive(day, minutes).replace(tzinfo=self.zone).timestamp())


def parse(text: str, zone: str = "") -> Window:
    """`22:00-06:00,12:00-13:00` and a zone name such as `Europe/Madrid` (empty: this machine's). Raises Bad."""
    where = _zone(zone)
    if not text.strip():
        return Window((), where, "")
    if len(text) > _LIMIT_CHARACTERS:
        raise Bad(f"a window of {len(text)} characters is too long")
    return Window(tuple(_range(item.strip()) for item in text.split(",")), where, text.strip())


def next_common(windows: Iterable[Window], now: float) -> Optional[int]:
    """The next moment at which all windows are open; None when they never are within a week."""
    everyone, moment = [_spans(item, now) for item in windows if item.ranges], int(now)
    latest = now + (_DAYS_AHEAD - 1) * _DAY_MINUTES * 60
    while moment <= latest:
        later = max((_next_in(spans, moment) for spans in everyone), default=moment)
        if later == moment:
            return moment
        moment = later
    return None


def _spans(item: Window, now: float) -> list[tuple[int, int]]:
    """When the window is open from yesterday on, as (begin, end), ascending and not overlapping."""
    spans: list[tuple[int, int]] = []
    for begin, end in sorted(item._openings(now, -1, _DAYS_AHEAD)):
        if spans and begin <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        elif end > begin:
            spans.append((begin, end))
    return spans


def _next_in(spans: list[tuple[int, int]], moment: int) -> int:
    place = bisect_right(spans, (moment, _LATEST))
    if place and moment < spans[place - 1][1]:
        return moment
    return spans[place][0] if place < len(spans) else _LATEST


def _range(text: str) -> Range:
    match = _RANGE.fullmatch(text) if text.isascii() else None
    if match is None:
        raise Bad(f"{text[:40]!r} is not a window; write it like 22:00-06:00, several with commas between")
    hours = [int(item) for item in match.groups()]
    begin, end = _minutes(hours[0], hours[1], text), _minutes(hours[2], hours[3], text)
    if begin in (end, _DAY_MINUTES):
        raise Bad(f"the window {text!r} is empty; for no restriction leave it out")
    return Range(begin, end)


def _minutes(hour: int, minute: int, text: str) -> int:
    total = hour * 60 + minute
    if minute > 59 or total > _DAY_MINUTES:
        raise Bad(f"the window {text!r} has no such time of day (00:00 to 24:00)")
    return total


def _zone(name: str) -> Optional[tzinfo]:
    if not name:
        return None
    import zoneinfo

    # zoneinfo makes the name a file's and a package's: what is not one of a zone never gets there
    if not _ZONE.fullmatch(name):
        raise Bad(f"the time zone {name[:60]!r} is unknown; it is a name like Europe/Madrid or UTC")
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Bad(f"the time zone {name[:60]!r} is unknown; it is a name like Europe/Madrid or UTC") from error


def _naive(day: date, minutes: int) -> datetime:
    return datetime.combine(day, time()) + timedelta(minutes=minutes)
