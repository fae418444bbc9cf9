# SPDX-License-Identifier: Apache-2.0
"""The journal: what a dead run had begun can be read by another process, or is clearly unreadable."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from onebackup_driver import journal

#: A run that begins step after step until it is killed.
RUN = """
import sys
from pathlib import Path
from onebackup_driver import journal
book = journal.open_new(Path(sys.argv[1]), "r1", "backup", 42, "web")
for number in range(100000):
    step = book.begin("power", vm_id=42, number=number)
    book.note(count=number)
    book.end(step)
    if number == 3:
        print("going", flush=True)
"""


def test_a_run_is_there_from_its_begin(tmp_path: Path) -> None:
    directory = tmp_path / "var" / "journal"
    book = journal.open_new(directory, "r1", "backup", 42, 'web "ü"\n')
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert list(journal.unfinished(directory)) == [directory / "r1.json"] == [book.path]
    assert journal.load(book.path) == book


def test_every_step_is_on_disk_when_it_begins(tmp_path: Path) -> None:
    book = journal.open_new(tmp_path, "r1", "backup", 42, "web")
    first = book.begin("temporaries")
    assert journal.load(book.path).steps == [journal.Step("temporaries", {})]
    second = book.begin("power", vm_id=42, action="poweroff", history_sequence=3)
    book.end(first)
    book.note(template_id=7, oneshot=False)
    found = journal.load(book.path)
    assert [step.ended for step in found.steps] == [True, False]
    assert found.steps[1].facts == second.facts == {"vm_id": 42, "action": "poweroff", "history_sequence": 3}
    assert found.facts == {"template_id": 7, "oneshot": False} and found.outcome == ""


@pytest.mark.parametrize("outcome", ["done", "undone"])
def test_a_run_that_ended_leaves_nothing(tmp_path: Path, outcome: str) -> None:
    journal.open_new(tmp_path, "r1", "backup", 42, "web").close(outcome)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_needs_attention_stays(tmp_path: Path) -> None:
    book = journal.open_new(tmp_path, "r1", "restore", 42, "web")
    book.begin("restored")
    book.close("attention")
    found = journal.load(book.path)
    assert (found.outcome, found.kind, [step.ended for step in found.steps]) == ("attention", "restore", [False])


def test_a_killed_run_leaves_a_readable_journal(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stdout.readline() == b"going\n"
        run.send_signal(signal.SIGKILL)
    (path,) = journal.unfinished(tmp_path)
    book = journal.load(path)
    numbers = [step.facts["number"] for step in book.steps]
    assert numbers == list(range(len(numbers))) and len(numbers) >= 4
    assert all(step.ended for step in book.steps[:-1])
    assert book.facts["count"] in (numbers[-1], numbers[-1] - 1)


def test_a_journal_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        journal.open_new(tmp_path / "file" / "journal", "r1", "backup", 42, "web")


def test_no_directory_means_nothing_unfinished(tmp_path: Path) -> None:
    assert list(journal.unfinished(tmp_path / "none")) == []


def test_other_files_are_no_journals(tmp_path: Path) -> None:
    book = journal.open_new(tmp_path, "r1", "backup", 42, "web")
    for name in (".r1.json.abc123", "r2.json.bad", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert list(journal.unfinished(tmp_path)) == [book.path]


GOOD: dict[str, Any] = {
    "format": 1,
    "run": "r1",
    "kind": "backup",
    "vm_id": 42,
    "vm_name": "web",
    "began": 1,
    "pid": 1,
    "outcome": "",
    "facts": {},
    "steps": [{"kind": "power", "facts": {}, "ended": False}],
}


def test_the_format_is_as_documented(tmp_path: Path) -> None:
    """docs/journal-format.md: another version of onebackup must be able to read it."""
    book = journal.open_new(tmp_path, "r1", "backup", 42, "web")
    book.begin("power")
    written = json.loads(book.path.read_text(encoding="utf-8"))
    assert written == {**GOOD, "began": book.began, "pid": os.getpid()}
    documented = (Path(__file__).resolve().parent.parent / "docs" / "journal-format.md").read_text(encoding="utf-8")
    assert [key for key in {**GOOD, **GOOD["steps"][0]} if f"`{key}`" not in documented] == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"5",
        json.dumps({**GOOD, "format": 2}).encode(),
        json.dumps({**GOOD, "steps": 5}).encode(),
        json.dumps({**GOOD, "steps": [5]}).encode(),
        json.dumps({**GOOD, "steps": [{"kind": "power"}]}).encode(),
        json.dumps({**GOOD, "facts": "x"}).encode(),
        json.dumps({**GOOD, "vm_id": "x"}).encode(),
        json.dumps({**GOOD, "vm_id": float("inf")}).encode(),
        json.dumps({key: value for key, value in GOOD.items() if key != "run"}).encode(),
    ],
)
def test_an_unreadable_journal_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r1.json"
    path.write_bytes(content)
    with pytest.raises(journal.Unreadable, match=str(path)) as caught:
        journal.load(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_journal_that_has_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(journal.Unreadable, match="r1.json"):
        journal.load(tmp_path / "r1.json")
