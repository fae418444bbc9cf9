# SPDX-License-Identifier: Apache-2.0
"""The only place that starts processes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def start_detached(argv: list[str], log_file: Path) -> int:
    """Start a process that outlives this one: a session of its own, nothing on stdin, its output appended to
    `log_file`; its pid. It holds none of our files: who waits for our output does not wait for it."""
    with open(log_file, "ab") as log:
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
