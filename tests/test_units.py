# SPDX-License-Identifier: Apache-2.0
"""Sizes and times in words."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebackup_driver import units


@pytest.fixture
def berlin() -> Iterator[None]:
    old = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
    time.tzset()
    yield
    if old is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = old
    time.tzset()


@pytest.mark.parametrize(
    "size_mb, words",
    [
        (0, "0 MiB"),
        (512, "512 MiB"),
        (1023, "1023 MiB"),
        (1024, "1.0 GiB"),
        (1536, "1.5 GiB"),
        (1024**2, "1.0 TiB"),
        (5000 * 1024**2, "5000.0 TiB"),
    ],
)
def test_sizes(size_mb: float, words: str) -> None:
    assert units.size_in_words(size_mb) == words


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0, "0.0 s"),
        (4.23, "4.2 s"),
        (59, "59.0 s"),
        (59.97, "1 min"),
        (61, "1 min 1 s"),
        (3700, "1 h 1 min"),
        (36 * 3600, "36 h"),
        (47 * 3600 + 59 * 60, "47 h 59 min"),
        (50 * 3600, "2 d 2 h"),
        (72 * 3600, "3 d"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert units.duration_in_words(seconds) == words


@pytest.mark.parametrize("count, words", [(0, "0 packs"), (1, "1 pack"), (2, "2 packs")])
def test_counts(count: int, words: str) -> None:
    assert units.counted(count, "pack") == words


@pytest.mark.usefixtures("berlin")
def test_times_are_local() -> None:
    assert units.local_time(1795401518) == "2026-11-23 03:38:38"
    assert units.local_time(1781777918) == "2026-06-18 12:18:38"
    assert units.compact_time(1795401518) == "20261123_033838"


@given(st.integers(min_value=-(10**19), max_value=10**19))
def test_no_number_from_outside_breaks_a_time(seconds: int) -> None:
    """LAST_BACKUP_TIME and FREQUENCY_SECONDS are whatever a user typed."""
    assert units.local_time(seconds)
