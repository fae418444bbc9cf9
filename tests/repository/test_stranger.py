# SPDX-License-Identifier: Apache-2.0
"""The format's document is enough to restore: stranger.py was written from it and knows nothing of our code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from onebackup_driver.repository import repository

from . import disks
from .disks import BLOCK, CELL

STRANGER = Path(__file__).with_name("stranger.py")


def test_a_stranger_restores(small: repository.Repository, tmp_path: Path) -> None:
    days = [disks.content(5.4) + bytes(4 * CELL) + disks.content(2, seed=4) + bytes(BLOCK) + b"end"]
    days.append(disks.changed(days[0], 3, 2 * CELL + 5, 3 * CELL))
    days.append(disks.changed(days[1], 3 + BLOCK, 6 * CELL))
    parent, key = None, ([disks.KEY.hex()] if small.header.encrypted else [])
    for number, disk in enumerate(days):
        parent = disks.save(small, disk, parent).name
        output = tmp_path / f"{number}.raw"
        argv = [sys.executable, "-I", str(STRANGER), str(small.store.root), parent]  # type: ignore[attr-defined]
        subprocess.run([*argv, str(output), *key], check=True, cwd=tmp_path)
        assert output.read_bytes() == disk


def test_the_stranger_is_one() -> None:
    assert "onebackup_driver" not in STRANGER.read_text()
