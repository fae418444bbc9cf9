# SPDX-License-Identifier: Apache-2.0
"""A wall clock that is stepped under a running process, for it and all it starts: clock_step.c in LD_PRELOAD.

Where there is no C compiler only time.time of the run itself is wrong, not what C libraries and children read.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")
_VARIABLE = "ONEBACKUP_FAULTS_CLOCK"
_FORMAT = "=q"


class Clock:
    """`environment`: what a process needs to see this clock."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._file.write_bytes(struct.pack(_FORMAT, 0))
        self.environment = {_VARIABLE: str(self._file)}
        library, compiler = folder / "clock_step.so", shutil.which("cc") or shutil.which("gcc")
        if compiler is not None:
            subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE], check=True)
            self.environment["LD_PRELOAD"] = str(library)

    def step(self, seconds: int) -> None:
        """From now on it is wrong by so many seconds."""
        with open(self._file, "r+b", buffering=0) as stream:
            stream.write(struct.pack(_FORMAT, seconds))


def see_it_without_a_compiler() -> None:
    """In a process that was to see the clock but could not be given the library."""
    if "LD_PRELOAD" in os.environ or _VARIABLE not in os.environ:
        return
    right, file = time.time, Path(os.environ[_VARIABLE])
    time.time = lambda: right() + struct.unpack(_FORMAT, file.read_bytes())[0]
