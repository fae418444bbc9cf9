# SPDX-License-Identifier: Apache-2.0
"""The clock of the matrix is wrong for everything in a process, also what it starts, and its sleeps are not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.clock_step import Clock

_DAY_S = 86400
_PROGRAM = """
import datetime, subprocess, sys, time
def tell():
    print(time.time(), datetime.datetime.now().timestamp(), subprocess.check_output(["date", "+%s"]).decode().strip(),
          time.monotonic(), flush=True)
tell()
sys.stdin.readline()
began = time.monotonic(); time.sleep(0.05); assert 0.04 < time.monotonic() - began < 5
tell()
"""


@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler")
@pytest.mark.parametrize("seconds", [_DAY_S, -_DAY_S])
def test_a_step_in_the_middle_of_a_run(tmp_path: Path, seconds: int) -> None:
    clock = Clock(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **clock.environment},
    )  # fmt: skip
    assert process.stdout is not None
    before = [float(word) for word in process.stdout.readline().split()]
    clock.step(seconds)
    out, _ = process.communicate("\n", timeout=30)
    after = [float(word) for word in out.split()]

    assert all(abs(moment - time.time()) < 60 for moment in before[:3])
    assert all(abs(moment - time.time() - seconds) < 60 for moment in after[:3])
    assert 0 < after[3] - before[3] < 60
