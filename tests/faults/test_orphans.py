# SPDX-License-Identifier: Apache-2.0
"""A matrix that is killed leaves no process, no folder and no mount behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.faults.fork_server import PROJECT
from tests.faults.settling import settle

_MARK = "FAULTS_TEST_MARK"


def processes_of(mark: str) -> dict[int, str]:
    """All that inherited the mark in their environment: pid and command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            pass  # it has ended, or is another user's
    return found


def folder_of(mark: str) -> str:
    """Where the front-end of a worker has its state; empty before it runs."""
    commands = [command.split() for command in processes_of(mark).values() if " sandbox " in command]
    return next((words[words.index("--state") + 1] for words in commands if "--state" in words), "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left(number: signal.Signals, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    argv = [sys.executable, "-m", "tests.faults", "--version", "7.4", "--scenario", "backup-onebackup",
            "--jobs", "1"]  # fmt: skip
    environment = {**os.environ, _MARK: mark, "PYTHONPATH": str(PROJECT)}
    errors = (tmp_path / "errors").open("wb")
    process = subprocess.Popen(
        argv, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=errors,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # how many cases: the rig is complete
        assert line, (tmp_path / "errors").read_text()
        folder = Path(folder_of(mark)).parent
        assert folder.name.startswith("onebackup-faults-") and folder.is_dir()
        assert len(processes_of(mark)) > 4

        process.send_signal(number)
        process.wait(30)

        assert settle(lambda: not processes_of(mark), 30), processes_of(mark)
        assert settle(lambda: not folder.exists()) and str(folder) not in Path("/proc/mounts").read_text()
    finally:
        process.kill()
        process.communicate()
