# SPDX-License-Identifier: Apache-2.0
"""Kill a group of servers when the process that started them is gone, however it went.

`python -m sandbox.world.watchdog`: reads process ids from stdin, one a line, and sends all of them SIGKILL
at end of file, which the kernel causes when the starter ends; then it removes the temporary directory that
is its argument, if any. (PR_SET_PDEATHSIG would follow the starting thread, not the process.)
"""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Optional

_PROJECT = Path(__file__).resolve().parents[2]


class Watchdog:
    """A set of processes that end at the latest with us."""

    def __init__(self, temporary: Optional[Path] = None) -> None:
        self._children: list[subprocess.Popen[bytes]] = []
        environment = {**os.environ, "PYTHONPATH": str(_PROJECT)}
        argv = [sys.executable, "-S", "-m", __name__, *([str(temporary)] if temporary else [])]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, env=environment, cwd="/", start_new_session=True
        )

    def spawn(
        self, argv: list[str], log: Path, directory: Path, environment: Optional[dict[str, str]] = None
    ) -> subprocess.Popen[bytes]:
        """Start a server in a session of its own, its output in `log`."""
        with open(log, "ab") as output:
            child = subprocess.Popen(
                argv, cwd=directory, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )
        self._children.append(child)
        assert self._process.stdin
        self._process.stdin.write(f"{child.pid}\n".encode())
        self._process.stdin.flush()
        return child

    def first_dead(self) -> Optional[subprocess.Popen[bytes]]:
        """Return a server that has ended by itself, None while all live."""
        return next((child for child in self._children if child.poll() is not None), None)

    def kill(self) -> None:
        """End all servers at once (nothing they hold is worth a slow shutdown), then the watchdog."""
        for child in reversed(self._children):
            child.kill()
        for child in self._children:
            child.wait()
        assert self._process.stdin
        self._process.kill()  # before it reads our end of file: by then the pids may be someone else's
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for pid in [int(line) for line in sys.stdin]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for directory in sys.argv[1:]:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
