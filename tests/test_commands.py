# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import sys
import time
from typing import Optional

import pytest

from onebackup_driver import commands, errors

LOUD = "import os,sys; os.write({}, b'x' * 5_000_000); os.write({}, b'last\\n')"


def wait(child: commands.Child) -> commands.Result:
    deadline = time.monotonic() + 20
    result: Optional[commands.Result] = None
    while result is None:
        assert time.monotonic() < deadline
        result = child.result()
        time.sleep(0.01)
    return result


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_output_and_exit_code() -> None:
    result = commands.run(["sh", "-c", "echo out; echo one >&2; echo two >&2; exit 3"])
    assert (result.code, result.output, result.last_words) == (3, b"out\n", "two")


def test_nothing_is_on_standard_input_unless_given() -> None:
    assert commands.run(["cat"]).output == b""
    big = os.urandom(3_000_000)
    assert commands.run(["cat"], given=big).output == big


@pytest.mark.parametrize("stream", [1, 2])
def test_a_loud_child_does_not_wait_for_us(stream: int) -> None:
    argv = [sys.executable, "-c", LOUD.format(stream, stream)]
    result = commands.run(argv, timeout_s=20)
    assert len(result.output + result.error_output) == 5_000_005
    tail = wait(commands.Child(argv))
    written = tail.output or tail.error_output
    assert written.endswith(b"xlast\n") and len(written) < 1_000_000, "of a child the end is kept"


def test_a_command_that_hangs_is_killed() -> None:
    began = time.monotonic()
    with pytest.raises(errors.TimedOut, match="did not end within 0.3 s"):
        commands.run(["sleep", "60"], timeout_s=0.3)
    assert time.monotonic() - began < 10


def test_an_exception_kills_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    note = os.path.join(tmp_path, "pid")

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            commands.run(["sh", "-c", f"echo $$ > {note}; exec sleep 60"])
    finally:
        signal.signal(signal.SIGALRM, before)
    with open(note) as stream:
        assert not alive(int(stream.read()))


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(commands.CommandFailed, match="cannot start /no/such"):
        commands.run(["/no/such"])
    with pytest.raises(commands.CommandFailed, match="cannot start /no/such"):
        commands.Child(["/no/such"])


def test_a_child_is_asked_to_end_and_its_signal_is_its_code() -> None:
    child = commands.Child(["sleep", "60"])
    assert child.result() is None and os.getpgid(child.pid) != os.getpgid(0)
    child.terminate()
    assert wait(child).code == 128 + signal.SIGTERM
    child.terminate()  # it is gone: nothing happens
