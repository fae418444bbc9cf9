# SPDX-License-Identifier: Apache-2.0
"""Signals sent to a real process that changes something and undoes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Callable

import pytest

#: Waits in a change, then in its undo; a line from the test ends each wait.
PROCESS = """
import sys
from onebackup_driver import errors, signals
signals.install()

def wait(name):
    print(name, flush=True)
    sys.stdin.readline()

try:
    try:
        wait("change")
        if "fail" in sys.argv:
            raise ValueError("failed by itself")
        print("changed", flush=True)
    except BaseException as error:
        with signals.deferred():
            print("undo of", error, flush=True)
            wait("undo")
            print("undone", flush=True)
            if "report" in sys.argv:
                raise RuntimeError("could not be undone") from error
        raise
except Exception as error:
    print("ended with", error, flush=True)
except errors.Terminated as error:
    print("terminated by", error.signal_number, flush=True)
"""


def _as_from_a_terminal() -> None:
    """Whoever runs the tests under nohup ignores SIGHUP, and children inherit that."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Process:
    def __init__(self, *arguments: str, before: Callable[[], object] = _as_from_a_terminal):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=before,
        )
        self.expect("change")

    def expect(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == line + "\n"

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def rest(self) -> str:
        out, _ = self.process.communicate(timeout=10)
        assert self.process.returncode == 0
        return out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_ends_the_change_and_a_second_does_not_break_the_undo(number: int) -> None:
    process = Process()
    process.send(number)
    process.expect(f"undo of ended by signal {number}")
    process.expect("undo")
    for again in (number, signal.SIGTERM, signal.SIGINT):
        process.send(again)
    process.go_on()
    assert process.rest() == f"undone\nterminated by {number}\n"


def test_a_first_signal_during_the_undo_of_a_failure_waits_for_its_end() -> None:
    process = Process("fail")
    process.go_on()
    process.expect("undo of failed by itself")
    process.expect("undo")
    process.send(signal.SIGTERM)
    process.go_on()
    assert process.rest() == "undone\nterminated by 15\n"


def test_a_signal_does_not_hide_that_the_undo_failed() -> None:
    process = Process("fail", "report")
    process.go_on()
    process.expect("undo of failed by itself")
    process.expect("undo")
    process.send(signal.SIGTERM)
    process.go_on()
    assert process.rest() == "undone\nended with could not be undone\n"


def test_without_a_signal_nothing_happens() -> None:
    process = Process()
    process.go_on()
    assert process.rest() == "changed\n"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_the_caller_ignores_stays_ignored(number: int) -> None:
    """nohup, and a shell that starts a job in the background."""
    process = Process(before=lambda: signal.signal(number, signal.SIG_IGN))
    process.send(number)
    process.go_on()
    assert process.rest() == "changed\n"


#: What is raised in a finalizer, which runs whenever the last reference goes, is swallowed by Python.
FINALIZER = """
import os, signal, sys, time, weakref
from onebackup_driver import errors, signals
signals.install()

class Thing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

class Watched:
    pass

def away():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.01)

thing = Thing() if "del" in sys.argv else Watched()
if "weakref" in sys.argv:
    weakref.finalize(thing, away)
try:
    del thing
    time.sleep(10)
    print("went on", flush=True)
except errors.Terminated as error:
    print("terminated by", error.signal_number, flush=True)
"""


@pytest.mark.parametrize("kind", ["del", "weakref"])
def test_a_signal_that_arrives_in_a_finalizer_is_not_lost(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FINALIZER, kind], capture_output=True, text=True, timeout=30,
        preexec_fn=_as_from_a_terminal,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("terminated by 15\n", "")
