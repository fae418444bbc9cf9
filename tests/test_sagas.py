# SPDX-License-Identifier: Apache-2.0
"""The frame of every run, in a real process: what the caller is told when a run breaks off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onebackup_driver import journal

#: A run that fails; the signal arrives, as told, when its undo has just begun.
PROCESS = """
import logging, os, signal, sys
from pathlib import Path
from onebackup_driver import errors, frontend, paths, sagas, signals
from onebackup_driver.context import Context
from onebackup_driver.site_rules import Configuration

what, signalled, state = sys.argv[1], sys.argv[2] == "signal", sys.argv[3]

class Sender(logging.Handler):
    def emit(self, record):
        if signalled and record.levelname == "CRITICAL":
            os.kill(os.getpid(), signal.SIGTERM)

log = logging.getLogger("test")
log.addHandler(Sender())
front_end = frontend.FrontEnd("http://127.0.0.1:9/RPC2", "a:b", 1, 0)
context = Context(front_end, Configuration(), paths.with_state(paths.find(), state), log)
signals.install()
try:
    with sagas.run(context, "backup", "r1", 42, "web", tell=False) as book:
        if what == "cannot be undone":
            book.begin("power", vm_id=42, action="poweroff", history_sequence=1)
        if what == "complete":
            book.note(complete=True)
        if what == "bug":
            raise ZeroDivisionError("a bug")
        raise errors.Failed("the upload failed")
except (errors.Error, errors.Terminated, ZeroDivisionError) as error:
    print(type(error).__name__, error, sep=": ")
"""


@pytest.mark.parametrize(
    "what, signalled, words, left",
    [
        ("can be undone", "quiet", "Failed: the upload failed; ", False),
        ("can be undone", "signal", "Failed: the upload failed; ", False),
        ("cannot be undone", "quiet", "NeedsAttention: the upload failed; and this could not be undone: ", True),
        ("cannot be undone", "signal", "NeedsAttention: the upload failed; and this could not be undone: ", True),
        ("complete", "quiet", "NeedsAttention: the restore point of VM 42 is complete but ", True),
        ("bug", "quiet", "ZeroDivisionError: a bug", False),
        ("bug", "signal", "Terminated: ended by signal 15", False),
    ],
)
def test_how_a_run_that_breaks_off_ends(tmp_path: Path, what: str, signalled: str, words: str, left: bool) -> None:
    """A signal on the way hides neither the error nor that something is left."""
    ran = subprocess.run(
        [sys.executable, "-c", PROCESS, what, signalled, str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert ran.stdout.startswith(words) and ran.stderr == "", ran
    assert bool(list(journal.unfinished(tmp_path / "journal"))) == left


def test_without_a_journal_nothing_begins(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    ran = subprocess.run(
        [sys.executable, "-c", PROCESS, "bug", "quiet", str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert ran.stdout.startswith("Refused: cannot write the journal in ") and "nothing was touched" in ran.stdout
