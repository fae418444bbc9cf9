# SPDX-License-Identifier: Apache-2.0
"""The line of progress: not before two seconds, not too often, only on a terminal, and gone at the end."""

from __future__ import annotations

import io

import pytest

from onebackup_driver.cli import progress_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    time = [100.0]
    monkeypatch.setattr(progress_line.clock, "monotonic", lambda: time[0])
    return time


def test_a_line_after_two_seconds(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress_line.shown("packs") as tell:
        for at, done in ((100.1, 1), (101.9, 2)):
            now[0] = at
            tell(done, 9)
        assert terminal.getvalue() == ""
        for at, done in ((102.1, 3), (102.2, 4), (102.7, 5)):
            now[0] = at
            tell(done, 9)
        assert terminal.getvalue() == "\r3 of 9 packs, 2 s\x1b[K\r5 of 9 packs, 3 s\x1b[K"
        now[0] = 103.5
        tell(1, 2, "indexes")
    assert terminal.getvalue().endswith("\r1 of 2 indexes, 4 s\x1b[K\r\x1b[K")


def test_no_line_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, now: list[float]) -> None:
    for stream, after in ((io.StringIO(), 50.0), (Terminal(), 1.0)):
        monkeypatch.setattr("sys.stderr", stream)
        with progress_line.shown("packs") as tell:
            now[0] += after
            tell(1, 9)
        assert stream.getvalue() == ""
