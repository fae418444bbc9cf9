# SPDX-License-Identifier: Apache-2.0
"""Nothing of the matrix outlives the process that started it, however that one ended.

A worker is killed by the kernel with its parent. What a rig has started is killed, and its folder removed, by a process
that reads what to do from a pipe and does it at the pipe's end: the kernel closes it when the rig's process ends.

    python -m tests.faults.orphans FOLDER      on stdin: `+PID` or `-PID` a line
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """From now on this process is killed when the thread that started it ends (prctl(2)): to be called only where
    that was a main thread."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before we asked


class Watch:
    """Ends processes and removes a folder when this process is gone without having done so itself."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-m", __name__, str(folder)], stdin=subprocess.PIPE, cwd="/",
            env={**os.environ, "PYTHONPATH": str(_PROJECT)}, start_new_session=True,
        )  # fmt: skip

    def over(self, pid: int) -> None:
        self._say(f"+{pid}")

    def no_more(self, pid: int) -> None:
        """The process has ended: its number may soon be another's."""
        self._say(f"-{pid}")

    def close(self) -> None:
        """Everything was ended in order."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.stdin.close()
        self._process.wait()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: set[int] = set()
    for line in sys.stdin:
        (watched.add if line[0] == "+" else watched.discard)(int(line[1:]))
    for pid in watched:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1].startswith(sys.argv[1]):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
    shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
