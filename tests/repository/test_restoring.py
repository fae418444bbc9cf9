# SPDX-License-Identifier: Apache-2.0
"""Many threads restore at once: what they fetch, and that a failure of one ends all."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Optional

import pytest

from onebackup_driver.repository import problems, repository
from onebackup_driver.repository.stores import base

from . import disks
from .disks import BLOCK, CELL
from .stores import Counted


class Distant(Counted):
    """A store with which eight requests at once are fast; frames come by read_into, and are not counted."""

    def __init__(self, inner: base.Store):
        self.fetched: Counter[str] = Counter()
        super().__init__(inner, lambda number, when, kind, name: self.fetched.update([f"{kind} {name}"]))
        self.parallel = 8

    def read_into(self, name: str, offset: int, view: memoryview) -> int:
        return self.inner.read_into(name, offset, view)


def test_each_table_is_fetched_once(small: repository.Repository, key: Optional[bytes]) -> None:
    disk = disks.content(60)
    point = disks.save(small, disk)
    store = Distant(small.store)
    opened = repository.open(store, key)
    assert disks.restored(opened, point) == disk
    tables = {name: count for name, count in store.fetched.items() if name.startswith("get packs/")}
    assert len(tables) == len(opened.cells(point.name).entries) > 8 and set(tables.values()) == {1}


def test_frames_that_do_not_fit_one_buffer(small: repository.Repository, key: Optional[bytes]) -> None:
    """Incompressible cells with a few changed blocks each: more is stored of a cell than it has bytes."""
    disk, parent = random.Random(1).randbytes(4 * CELL), None
    for day in range(4):
        disk = disks.changed(disk, *(number * CELL + day * BLOCK for number in range(4)), seed=day)
        point = disks.save(small, disk, parent)
        parent = point.name
    assert disks.restored(repository.open(Distant(small.store), key), point) == disk


def test_one_thread_that_fails_ends_all(small: repository.Repository, key: Optional[bytes]) -> None:
    point = disks.save(small, disks.content(60))
    written: list[int] = []

    def write(offset: int, data: memoryview) -> None:
        written.append(offset)
        if len(written) == 5:
            raise problems.StoreFailed("the disk is full")

    with pytest.raises(problems.StoreFailed, match="full"):
        repository.open(Distant(small.store), key).restore(point, write)
    assert len(written) < 5 + 8 * 2 and not [thread for thread in threading.enumerate() if thread.name == "tables_0"]
