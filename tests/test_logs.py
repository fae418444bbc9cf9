# SPDX-License-Identifier: Apache-2.0
"""Log lines as the stock commands write them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onebackup_driver import logs

#: A line of the recorded stock session: `2026-11-23 02:35:09 INFO  : Saving VM as template`.
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO |WARN |ERROR|FATAL) : \S.*\Z")


def say(verbose: bool, log_file: str | None = None) -> None:
    logger = logs.set_up(verbose, log_file)
    logger.info("Saving VM as %s", "template")
    logger.warning("careful")
    logger.error("two\nlines\r\nthree")
    logger.critical("100% broken %s")


def test_verbose_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    say(True)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == "" and all(LINE.match(line) for line in lines), lines
    assert [line[20:] for line in lines] == [
        "INFO  : Saving VM as template",
        "WARN  : careful",
        "ERROR : two lines three",
        "FATAL : 100% broken %s",
    ]


def test_otherwise_only_warnings_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say(False)
    out, err = capsys.readouterr()
    assert out == "" and [line[20:25] for line in err.splitlines()] == ["WARN ", "ERROR"]


def test_a_log_file_is_appended_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "backup.log"
    path.write_text("before\n")
    say(False, str(path))
    say(False, str(path))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "before" and len(lines) == 9 and all(LINE.match(line) for line in lines[1:])
    assert capsys.readouterr() == ("", "")


def test_verbose_wins_over_a_log_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "backup.log"
    say(True, str(path))
    assert not path.exists() and capsys.readouterr().out.count("\n") == 4


def test_setting_up_twice_does_not_double_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(True)
    say(True)
    assert capsys.readouterr().out.count("\n") == 4


def test_a_log_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        logs.set_up(False, str(tmp_path / "none" / "backup.log"))


def test_names_in_any_script(tmp_path: Path) -> None:
    path = tmp_path / "backup.log"
    logs.set_up(False, str(path)).info("VM größe 漢😀")
    assert path.read_text(encoding="utf-8").endswith("VM größe 漢😀\n")
