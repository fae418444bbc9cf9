# SPDX-License-Identifier: Apache-2.0
"""Run a program as oned's drivers do, and turn its stderr into the message that oned keeps."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Optional

KILLED_BY_US = 255  # the code oned stores for a time-out, a signal and a program that cannot be started
_TERMINATION_GRACE_S = 2.0
_SHELL_SYNTAX = re.compile(r"""[*?{}\[\]<>()~&|\\$;'`"\n#]|^\s*\w+=""")
_LOG_LINE = re.compile(r"^(ERROR|INFO|WARN|DEBUG):\s+(\d+)?\s*(.*)$")


@dataclass(frozen=True)
class Completed:
    """What a program left behind; `return_code` is 255 for time-out, signal or a failed start."""

    return_code: int
    stdout: str
    stderr: str


def oneadmin_environment(
    home: Path, endpoint: str, extra: Optional[Mapping[str, str]] = None
) -> dict[str, str]:
    """Return the six variables that recorded drivers and hooks see, plus `extra` (which wins).

    `home` stands for /var/lib/one: HOME and PWD point there, so `~/.one/one_auth` is found.
    """
    environment = {
        "HOME": str(home),
        "LOGNAME": "oneadmin",
        "ONE_XMLRPC": endpoint,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PWD": str(home),
        "USER": "oneadmin",
    }
    environment.update(extra or {})
    return environment


def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    environment: Optional[Mapping[str, str]] = None,
    directory: Optional[Path] = None,
    timeout_s: Optional[float] = None,
) -> Completed:
    """Run `argv` to its end in a process group of its own; never raises for what the program does.

    Output goes through files, not pipes: like oned we do not wait for a daemon that a script left behind
    with our stdout in its hands. A time-out sends SIGTERM to the group (SIGKILL 2 s later), code 255.
    """
    with tempfile.TemporaryFile() as into, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        into.write(stdin)
        into.seek(0)
        try:
            process = subprocess.Popen(
                list(argv), stdin=into, stdout=out, stderr=err, cwd=directory,
                env=None if environment is None else dict(environment), start_new_session=True,
            )
        except OSError as error:
            return Completed(KILLED_BY_US, "", f"Internal error {error.strerror} - {argv[0]}")
        timed_out = _wait(process, timeout_s)
        texts = [_text(stream) for stream in (out, err)]
    if timed_out:
        return Completed(KILLED_BY_US, "", f"Timeout executing {' '.join(argv)}")
    code = process.returncode if process.returncode >= 0 else KILLED_BY_US
    return Completed(code, *texts)


def run_line(
    line: str,
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str],
    timeout_s: Optional[float] = None,
) -> Completed:
    """Run a command line in the environment's HOME, as Ruby does: with a shell only where syntax needs it."""
    argv = ["/bin/sh", "-c", line] if _SHELL_SYNTAX.search(line) else line.split()
    return run(
        argv, stdin=stdin, environment=environment, directory=Path(environment["HOME"]), timeout_s=timeout_s
    )


def failure_message(stderr: str, version: str) -> str:
    """Return what oned of `version` ("6.4", "7.4") makes of a failed driver's stderr.

    6.x joins all lines with spaces. 7.x keeps only lines without a log prefix and joins them with nothing
    between them. Both say "-" for an empty text. (opennebula.md 2.2; DriverExecHelper of both versions.)
    """
    if version.startswith("6."):
        message = stderr.replace("\n", " ").strip()
    else:
        lines = [line.strip() for line in stderr.splitlines()]
        message = "".join(line for line in lines if not _LOG_LINE.match(line))
    return message or "-"


def _wait(process: subprocess.Popen[bytes], timeout_s: Optional[float]) -> bool:
    try:
        process.wait(timeout_s)
        return False
    except subprocess.TimeoutExpired:
        _signal_group(process.pid, signal.SIGTERM)
    try:
        process.wait(_TERMINATION_GRACE_S)
    except subprocess.TimeoutExpired:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode("utf-8", "replace")
