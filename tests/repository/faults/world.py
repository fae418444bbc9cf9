# SPDX-License-Identifier: Apache-2.0
"""A repository with something of everything in it: what is needed, what may go, what must stay for a while."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Optional
from unittest import mock

from onebackup_driver.repository import gc, repository, verify
from onebackup_driver.repository.extent import Extent
from onebackup_driver.repository.format.header import Parameters
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.stores.directory import DirectoryStore

from .. import disks
from ..disks import CELL, SMALL

HOUR_S = 3600
#: Large enough for more than one part of a multipart upload.
LARGE = Parameters(cell_bytes=CELL, block_bytes=disks.BLOCK, pack_bytes=12 << 20)


@lru_cache(maxsize=16)
def disk(label: str) -> bytes:
    """The disk of each label; a restore point says in its facts which it is of."""
    return _DISKS[label]()


_A1 = disks.content(5)
_A2 = disks.changed(_A1, 7, 2 * CELL)
_C1 = disks.content(4, seed=4)
_DISKS = {
    "A1": lambda: _A1,
    "A2": lambda: _A2,
    "A3": lambda: disks.changed(_A2, CELL + 9, 4 * CELL) + disks.content(1.4, seed=31),
    "A4": lambda: disks.changed(_A2, 3 * CELL) + disks.content(1, seed=32),
    "B": lambda: bytes(CELL) + disks.content(2.5, seed=3) + bytes(2 * CELL),
    "V": lambda: disks.content(3, seed=5),
    "C1": lambda: _C1,
    "C2": lambda: disks.changed(_C1, *range(0, 4 * CELL, CELL), seed=41),
    "large": lambda: disks.content(190, seed=51),
}


@dataclass(frozen=True)
class World:
    """`objects`: bytes and age in seconds by name; `points`: the label of each restore point; all by names."""

    key: Optional[bytes]
    objects: dict[str, tuple[bytes, float]]
    points: dict[str, str]

    def newest(self, label: str) -> str:
        return max(name for name, its in self.points.items() if its == label)


@lru_cache(maxsize=8)
def made(encrypted: bool, many_indexes: bool = False, large: bool = False) -> World:
    """Build it once. `many_indexes`: the next save merges them. `large`: packs of several parts."""
    key = disks.KEY if encrypted else None
    with _ids(), tempfile.TemporaryDirectory(prefix="onebackup-faults-") as name:
        store = DirectoryStore(Path(name))
        opened = repository.create(store, LARGE if large else SMALL, key)
        _build(opened)
        if many_indexes:
            parent = max(opened.names())
            for _ in range(31):
                opened.delete(save(opened, "C2", parent).name)
        points = {point.name: str(point.facts["label"]) for point in opened.manifests()}
        return World(key, read(Path(name)), points)


@contextmanager
def _ids() -> Iterator[None]:
    """Mostly the same names each time (threads decide some): each module takes its ids from a row of its own."""
    rows: dict[str, random.Random] = {}

    def given(count: int) -> bytes:
        module = str(sys._getframe(1).f_globals["__name__"])
        return rows.setdefault(module, random.Random(module)).randbytes(count)

    with mock.patch("secrets.token_bytes", given), mock.patch("os.urandom", given):
        yield


def save(opened: repository.Repository, label: str, parent: Optional[str] = None) -> Manifest:
    return disks.save(opened, disk(label), parent, label=label)


def _build(opened: repository.Repository) -> None:
    """V: its packs are condemned but needed. C2: needs packs that only its packs name. Garbage of three ages."""
    old = save(opened, "V")
    ripe = disks.save(opened, disks.content(3, seed=71))
    age(opened, 25)
    opened.delete(ripe.name)

    def stream() -> Iterator[Extent]:
        data = disk("V")
        yield Extent(0, CELL, data[:CELL])
        opened.delete(old.name)
        assert gc.collect(opened).condemned_now
        yield Extent(CELL, len(data) - CELL, data[CELL:])

    opened.save(stream(), len(disk("V")), old.name, {"label": "V"})
    age(opened, 37)
    first = save(opened, "A1")
    save(opened, "A2", first.name)
    save(opened, "B")
    parent = save(opened, "C1")
    save(opened, "C2", parent.name)
    opened.delete(parent.name)
    opened.delete(disks.save(opened, disks.content(2, seed=72)).name)
    assert verify.verify(opened).is_whole
    age(opened, 25)
    opened.delete(disks.save(opened, disks.content(2, seed=73)).name)
    dry = gc.collect(opened, dry_run=True)
    assert dry.deleted and dry.condemned_now and dry.young and dry.avoided


def age(opened: repository.Repository, hours: float) -> None:
    assert isinstance(opened.store, DirectoryStore)
    older(opened.store.root, hours)


def older(root: Path, hours: float) -> None:
    """Let all objects in a directory be that much older."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            status = path.stat()
            os.utime(path, (status.st_atime, status.st_mtime - hours * HOUR_S))


def read(root: Path) -> dict[str, tuple[bytes, float]]:
    """All objects of a directory: bytes and age."""
    now, found = time.time(), {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            found[path.relative_to(root).as_posix()] = (path.read_bytes(), now - path.stat().st_mtime)
    return found
