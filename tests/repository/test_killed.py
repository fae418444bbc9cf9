# SPDX-License-Identifier: Apache-2.0
"""A backup that fails or is killed at any step harms nothing, and the next one goes through."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

from onebackup_driver.repository import gc, problems, repository, verify
from onebackup_driver.repository.stores.directory import DirectoryStore

from . import disks, stores
from .disks import CELL, SMALL

PROJECT = Path(__file__).resolve().parents[2]
SAVE_AND_DIE = """
import sys
from pathlib import Path
from onebackup_driver.repository import repository
from onebackup_driver.repository.stores.directory import DirectoryStore
from tests.repository import disks, stores
root, at, when, parent = sys.argv[1:]
store = stores.killing(DirectoryStore(Path(root)), int(at), when)
disk = disks.changed(disks.content(9), *range(0, 9 * disks.CELL, disks.CELL))
disks.save(repository.open(store, disks.KEY), disk, parent)
print(store.count)
"""
DAY_1 = disks.content(9)
DAY_2 = disks.changed(DAY_1, *range(0, 9 * CELL, CELL))


def check(root: Path, first: str, key: Optional[bytes]) -> None:
    """The old restore point is whole, a new one (if any) too, and a backup goes through now."""
    opened = repository.open(DirectoryStore(root), key)
    for point in opened.manifests():
        assert disks.restored(opened, point) == (DAY_1 if point.name == first else DAY_2)
    assert verify.verify(opened).is_whole
    again = disks.save(opened, DAY_2, first)
    assert disks.restored(opened, again) == DAY_2
    gc.collect(opened)
    assert verify.verify(opened).is_whole


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_step_of_publication(tmp_path: Path, when: str) -> None:
    """kill -9 of the real process, at each operation of the store that writes."""
    root = tmp_path / "repository"
    first = disks.save(repository.create(DirectoryStore(root), SMALL, disks.KEY), DAY_1).name
    count = _operations(shutil.copytree(root, tmp_path / "counted"), first)
    steps = range(count - 8, count + 1)
    killed = 0
    for at in steps:
        copy = shutil.copytree(root, tmp_path / f"{at}")
        process = subprocess.run(
            [sys.executable, "-c", SAVE_AND_DIE, str(copy), str(at), when, first], cwd=PROJECT, capture_output=True
        )
        assert process.returncode in (0, -signal.SIGKILL), process.stderr.decode()
        killed += process.returncode == -signal.SIGKILL
        check(copy, first, disks.KEY)
    assert killed >= len(steps) // 2  # operations that only read have no "after"


def _operations(root: Path, first: str) -> int:
    """How many operations a save of the second day takes."""
    store = stores.failing(DirectoryStore(root), 0, "")
    disks.save(repository.open(store, disks.KEY), DAY_2, first)
    return store.count


@pytest.mark.parametrize("when", ["before", "after"])
def test_every_operation_fails_once(tmp_path: Path, when: str, key: Optional[bytes]) -> None:
    root = tmp_path / "repository"
    first = disks.save(repository.create(DirectoryStore(root), SMALL, key), DAY_1).name
    at = failures = 0
    while True:
        at += 1
        copy = shutil.copytree(root, tmp_path / f"{at}")
        store = stores.failing(DirectoryStore(copy), at, when)
        try:
            disks.save(repository.open(store, key), DAY_2, first)
        except problems.StoreFailed:
            failures += 1
            names = repository.open(DirectoryStore(copy), key).names()
            assert names == [first] or when == "after"  # an answer that got lost may belong to a done deed
            assert not list(copy.rglob(".tmp-*")) or when == "after"
        check(copy, first, key)
        if store.count < at:
            break
    assert failures > 6


def test_a_signal_ends_a_save(small: repository.Repository) -> None:
    class Interrupted(BaseException):
        pass

    def stream() -> object:
        yield from disks.extents(disks.content(3))
        raise Interrupted

    with pytest.raises(Interrupted):
        small.save(stream(), 9 * CELL)  # type: ignore[arg-type]
    assert small.names() == [] and list(small.store.list("packs/")) == []
    assert not os.listdir(small.store.root / "packs") or not list(small.store.root.rglob(".tmp-*"))  # type: ignore
