# SPDX-License-Identifier: Apache-2.0
"""Inputs that grow are refused before they do: 2 GiB of address space and seconds are enough for all of them."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.hostile import bombs
from tests.hostile.fuzz_targets import ROOT

#: CPU seconds for one bomb, on a slow machine.
_MOST_S = 20.0


def test_no_bomb_goes_off() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.bombs"], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True,
        timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [bomb.__name__ for bomb in bombs.BOMBS]
    assert all(float(row[1]) < _MOST_S for row in rows), done.stdout
