# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebackup_driver import window

MADRID = ZoneInfo("Europe/Madrid")
ZONES = ("UTC", "Europe/Madrid", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")


def moment(text: str, zone: ZoneInfo = MADRID, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp())


@pytest.mark.parametrize(
    "text, at, expected",
    [
        ("22:00-06:00", "2026-05-04 22:00", True),
        ("22:00-06:00", "2026-05-04 21:59:59", False),
        ("22:00-06:00", "2026-05-05 05:59:59", True),
        ("22:00-06:00", "2026-05-05 06:00", False),
        ("12:00-13:00,22:00-6:00", "2026-05-05 12:30", True),
        ("12:00-13:00, 22:00-06:00", "2026-05-05 13:30", False),
        ("0:00-24:00", "2026-05-05 23:59:59", True),
        ("20:00-24:00", "2026-05-05 00:00", False),
        ("22:00-00:00", "2026-05-05 23:30", True),
        ("", "2026-05-05 13:30", True),
    ],
)
def test_open(text: str, at: str, expected: bool) -> None:
    assert window.parse(text, "Europe/Madrid").open_at(moment(at)) is expected


def test_the_next_opening_is_told() -> None:
    parsed = window.parse("22:00-06:00,12:00-13:00", "Europe/Madrid")
    assert parsed.next_open(moment("2026-05-05 08:00")) == moment("2026-05-05 12:00")
    assert parsed.next_open(moment("2026-05-05 13:00")) == moment("2026-05-05 22:00")
    assert parsed.next_open(moment("2026-05-05 23:00")) == moment("2026-05-05 23:00")


def test_a_beginning_that_the_clock_skips_opens_at_the_change() -> None:
    change = moment("2026-03-29 03:00")  # 02:00 -> 03:00
    for text in ("02:30-03:30", "02:15-02:45"):
        parsed = window.parse(text, "Europe/Madrid")
        assert not parsed.open_at(change - 1)
        assert parsed.open_at(change)
        assert parsed.next_open(moment("2026-03-29 01:00")) == change


def test_an_hour_that_comes_twice_opens_once() -> None:
    parsed = window.parse("02:15-02:45", "Europe/Madrid")
    assert parsed.open_at(moment("2026-10-25 02:30", fold=0))
    assert not parsed.open_at(moment("2026-10-25 02:30", fold=1))


@pytest.mark.parametrize("night, hours", [("2026-03-28", 7), ("2026-10-24", 9), ("2026-07-01", 8)])
def test_a_night_over_the_change_of_clocks(night: str, hours: int) -> None:
    begin = moment(f"{night} 22:00")
    parsed = window.parse("22:00-06:00", "Europe/Madrid")
    assert parsed.open_at(begin) and parsed.open_at(begin + hours * 3600 - 1)
    assert not parsed.open_at(begin - 1) and not parsed.open_at(begin + hours * 3600)


@pytest.mark.parametrize(
    "text, zone, words",
    [
        ("22-6", "", "write it like 22:00-06:00"),
        ("22:00-06:00,", "", "'' is not a window"),
        ("22:60-06:00", "", "no such time of day"),
        ("25:00-06:00", "", "no such time of day"),
        ("06:00-06:00", "", "is empty"),
        ("٢٢:00-06:00", "", "is not a window"),
        ("1:00-2:00," * 100, "", "too long"),
        ("22:00-06:00", "Europe/Atlantis", "time zone 'Europe/Atlantis' is unknown"),
        ("22:00-06:00", "../../etc/passwd", "is unknown"),
    ],
)
def test_a_bad_window_is_one_clear_line(text: str, zone: str, words: str) -> None:
    with pytest.raises(window.Bad) as caught:
        window.parse(text, zone)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_windows_that_never_meet() -> None:
    day, night = window.parse("08:00-18:00", "UTC"), window.parse("22:00-06:00", "UTC")
    now = moment("2026-05-05 12:00", ZoneInfo("UTC"))
    assert window.next_common([day, night], now) is None
    late = window.parse("17:00-23:00", "UTC")
    assert window.next_common([late, night], now) == moment("2026-05-05 22:00", ZoneInfo("UTC"))
    assert window.next_common([], now) == now


minutes = st.integers(0, 24 * 60 - 1)


@st.composite
def windows(draw: st.DrawFn) -> window.Window:
    pairs = draw(st.lists(st.tuples(minutes, minutes).filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=3))
    text = ",".join(f"{a // 60:02}:{a % 60:02}-{b // 60:02}:{b % 60:02}" for a, b in pairs)
    return window.parse(text, draw(st.sampled_from(ZONES)))


instants = st.integers(1_600_000_000, 1_900_000_000)


@given(windows(), instants)
def test_the_next_opening_is_open_and_the_moment_before_is_not(parsed: window.Window, now: int) -> None:
    opens = parsed.next_open(now)
    assert opens >= now and parsed.open_at(opens)
    assert opens - now <= 2 * 86400
    if opens > now:
        assert not parsed.open_at(opens - 1)


@given(windows(), instants)
def test_far_from_a_change_of_clocks_it_is_the_wall_clock_that_counts(parsed: window.Window, now: int) -> None:
    offsets = {
        datetime.fromtimestamp(now + hours * 3600, parsed.zone).utcoffset() for hours in range(-50, 51)
    }
    if len(offsets) > 1:
        return
    shown = datetime.fromtimestamp(now, parsed.zone)
    minute = (shown - shown.replace(hour=0, minute=0, second=0)) // timedelta(minutes=1)
    inside = any(
        item.begin <= minute < item.end if item.begin < item.end else minute >= item.begin or minute < item.end
        for item in parsed.ranges
    )
    assert parsed.open_at(now) is inside
