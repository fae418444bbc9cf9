# SPDX-License-Identifier: Apache-2.0
"""The file operations of a run as steps, and faults that hit exactly one of them.

Python's audit hook tells of each operation right before it is done; there the process can be killed, the operation
refused as on a full disk, or the file size limited, so that what is opened cannot be written.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Optional

FAULTS = ("kill", "no-space", "no-space-from-here", "no-more-bytes")
_EVENTS = {"open": "open", "os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir"}


def watch(state: Path, report: int, strike: dict[str, Any]) -> None:
    """From now on write the name of each step to the descriptor `report`; at the step `strike["step"]` the fault
    `strike["fault"]` happens (both may be missing)."""
    watcher = _Watcher(state, report, str(strike.get("step", "")), str(strike.get("fault", "")))
    sys.addaudithook(watcher)


class _Watcher:
    def __init__(self, state: Path, report: int, step: str, fault: str) -> None:
        self.state, self.report, self.step, self.fault = f"{state}/", report, step, fault
        self.counts: Counter[str] = Counter()
        self.full_for = ""

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        what = self._what(event, arguments)
        if what is None:
            return
        self.counts[what] += 1
        name = f"{what}.{self.counts[what]}"
        os.write(self.report, f"{name}\n".encode())
        if name == self.step:
            self._strike(what)
        if self.full_for and what.split(":")[1] == self.full_for and what.split(":")[2] not in ("remove", "sync"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _what(self, event: str, arguments: tuple[Any, ...]) -> Optional[str]:
        """e.g. `file:journal:rename`; None for what is not in the state directory, or only read."""
        verb = _EVENTS.get(event)
        path = arguments[0] if arguments else None
        if verb is None or not isinstance(path, (str, Path)) or not str(path).startswith(self.state):
            return None
        if verb == "open" and not (int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY)):
            return None
        if verb == "open" and int(arguments[2]) & os.O_DIRECTORY:
            verb = "sync"
        top = str(path)[len(self.state):].split("/")[0]
        return f"file:{top}:{verb}"

    def _strike(self, what: str) -> None:
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "no-space":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.fault == "no-space-from-here":
            self.full_for = what.split(":")[1]
        if self.fault == "no-more-bytes":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
