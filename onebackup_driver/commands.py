# SPDX-License-Identifier: Apache-2.0
"""The only place that starts processes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Optional

from onebackup_driver import clock, errors, files

TIMEOUT_S = 600.0
#: Of the output of a child that runs for hours the end is kept.
_TAIL_BYTES = 256 * 1024
_PIECE_BYTES = 64 * 1024
_DRAIN_TIMEOUT_S = 5.0


class CommandFailed(errors.Failed):
    """A command ended with another exit code than 0, or could not be started."""


@dataclass(frozen=True)
class Result:
    """How a process ended: its exit code (128 + n when signal n ended it) and what it wrote."""

    code: int
    output: bytes
    error_output: bytes

    @property
    def last_words(self) -> str:
        """The last line on standard error."""
        lines = self.error_output.decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def run(argv: list[str], timeout_s: float = TIMEOUT_S, given: Optional[bytes] = None) -> Result:
    """Run a command to its end, `given` (or nothing) on its standard input.

    Raises TimedOut when it was killed after `timeout_s`, or CommandFailed when it could not be started.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise CommandFailed(f"cannot start {argv[0]}: {error.strerror}") from error
    try:
        output, error_output = process.communicate(given, timeout_s)
    except subprocess.TimeoutExpired:
        raise errors.TimedOut(f"{argv[0]} did not end within {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    return Result(_code(process.returncode), output, error_output)


class TooMuch(CommandFailed):
    """A command wrote more than it may, and was killed."""


def run_limited(argv: list[str], timeout_s: float, memory_bytes: int, output_bytes: int) -> Result:
    """Run a command that works on what strangers wrote: killed after `timeout_s`, with so much address space and CPU
    time as it may take (prlimit of util-linux), and read up to `output_bytes` of its output.

    Raises TimedOut, TooMuch, CommandFailed.
    """
    limits = [f"--as={memory_bytes}", f"--cpu={int(timeout_s) + 1}", "--core=0"]
    whole, pipe = ["prlimit", *limits, "--", *argv], subprocess.PIPE
    try:
        process = subprocess.Popen(whole, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    except OSError as error:
        text = f"cannot start prlimit (of util-linux), without which {argv[0]} is not run: {error.strerror}"
        raise CommandFailed(text) from error
    assert process.stdout is not None and process.stderr is not None
    output, error_output = _Limited(process.stdout, output_bytes), _Limited(process.stderr, _TAIL_BYTES)
    try:
        deadline = clock.monotonic() + timeout_s
        while process.poll() is None and not output.exceeded:
            if clock.monotonic() > deadline:
                raise errors.TimedOut(f"{argv[0]} did not end within {timeout_s:g} s")
            output.wait(0.05)
    finally:
        process.kill()
        process.wait()
    result = Result(_code(process.returncode), output.ended(), error_output.ended())
    if output.exceeded:
        raise TooMuch(f"{argv[0]} said more than {output_bytes} bytes")
    return result


class _Limited(threading.Thread):
    """Reads a pipe to its end or up to a limit."""

    def __init__(self, stream: IO[bytes], limit: int):
        super().__init__(daemon=True)
        self._stream, self._limit, self._content, self.exceeded = stream, limit, bytearray(), False
        self.start()

    def run(self) -> None:
        while piece := os.read(self._stream.fileno(), _PIECE_BYTES):
            if len(self._content) + len(piece) > self._limit:
                self.exceeded = True
                return
            self._content += piece

    def wait(self, timeout_s: float) -> None:
        """Wait for the end of the output, or a moment."""
        self.join(timeout_s)
        if not self.is_alive():
            clock.sleep(0.001)

    def ended(self) -> bytes:
        self.join(_DRAIN_TIMEOUT_S)
        self._stream.close()
        return bytes(self._content)


class Child:
    """A process of our own that goes on beside us, in a session of its own: a signal from the terminal reaches it only
    through us. Both its outputs are read all the time, so that it never waits for us."""

    def __init__(self, argv: list[str]):
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise CommandFailed(f"cannot start {argv[0]}: {error.strerror}") from error
        assert self._process.stdout is not None and self._process.stderr is not None
        self._outputs = (_Drain(self._process.stdout), _Drain(self._process.stderr))

    @property
    def pid(self) -> int:
        return self._process.pid

    def result(self) -> Optional[Result]:
        """How it ended; None while it runs."""
        if self._process.poll() is None:
            return None
        output, error_output = (drain.ended() for drain in self._outputs)
        return Result(_code(self._process.returncode), output, error_output)

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)


class _Drain(threading.Thread):
    def __init__(self, stream: IO[bytes]):
        super().__init__(daemon=True)
        self._stream, self._pieces, self._length = stream, deque[bytes](), 0
        self.start()

    def run(self) -> None:
        while piece := os.read(self._stream.fileno(), _PIECE_BYTES):
            self._pieces.append(piece)
            self._length += len(piece)
            while self._length - len(self._pieces[0]) > _TAIL_BYTES:
                self._length -= len(self._pieces.popleft())

    def ended(self) -> bytes:
        self.join(_DRAIN_TIMEOUT_S)  # a grandchild may have inherited the pipe
        return b"".join(self._pieces)


def _code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


def start_detached(argv: list[str], log_file: Path) -> int:
    """Start a process that outlives this one: a session of its own, nothing on stdin, its output appended to
    `log_file`; its pid. It holds none of our files: who waits for our output does not wait for it."""
    with files.append(log_file) as log:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            close_fds=True,
        )
    # Popen would complain that nobody waited: nobody shall.
    process.returncode = 0
    return process.pid


def call(argv: list[str]) -> int:
    """Run a command on our own terminal, standard input and output; its exit code, 128 + n when signal n ended it."""
    code = subprocess.call(argv)
    return code if code >= 0 else 128 - code


def become(program: str, argv: list[str]) -> None:
    """Be replaced by a program (execv): arguments, standard streams, terminal and exit code are then its own."""
    os.execv(program, argv)
