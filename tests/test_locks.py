# SPDX-License-Identifier: Apache-2.0
"""One run per VM, between real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onebackup_driver import errors, locks

HOLDER = """
import sys, time
from pathlib import Path
from onebackup_driver import locks
with locks.vm(Path(sys.argv[1]), int(sys.argv[2]), "being backed up"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(directory: Path, vm_id: int) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), str(vm_id)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def held(directory: Path, vm_id: int) -> bool:
    with locks.vm(directory, vm_id, "being tested"):
        return True


def test_a_live_holder_is_named(tmp_path: Path) -> None:
    with holder(tmp_path, 42) as process:
        with pytest.raises(locks.Busy) as caught:
            held(tmp_path, 42)
        assert held(tmp_path, 43), "another VM is free"
    line = str(caught.value)
    assert f"VM 42 is being backed up by pid {process.pid} since 2" in line and len(line.splitlines()) == 1
    assert caught.value.exit_code == errors.EXIT_REFUSED


def test_a_killed_holder_does_not_block(tmp_path: Path) -> None:
    with holder(tmp_path, 42) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert held(tmp_path, 42)


def test_a_holder_that_ended_does_not_block(tmp_path: Path) -> None:
    with holder(tmp_path, 42) as process:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        assert held(tmp_path, 42)


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A program that we start, and that outlives us, must not inherit it."""
    with locks.vm(tmp_path, 42, "being tested"):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        assert held(tmp_path, 42)
    finally:
        child.kill()
        child.communicate()


def test_an_error_inside_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locks.vm(tmp_path, 42, "being tested"):
        raise ZeroDivisionError
    assert held(tmp_path, 42)


def test_the_same_process_cannot_take_it_twice(tmp_path: Path) -> None:
    with locks.vm(tmp_path, 42, "being tested"), pytest.raises(locks.Busy, match="being tested by pid"):
        held(tmp_path, 42)


@pytest.mark.parametrize(
    "note",
    ["", "rubbish", "[]", "{}", '{"doing": "x", "pid": 1, "since": "x"}', '{"doing": "x", "pid": 1, "since": 1e30}'],
)
def test_a_damaged_note_hides_nothing(tmp_path: Path, note: str) -> None:
    with holder(tmp_path, 42):
        (tmp_path / "vm-42.lock").write_text(note)
        with pytest.raises(locks.Busy, match="VM 42 is "):
            held(tmp_path, 42)
