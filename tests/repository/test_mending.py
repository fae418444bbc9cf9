# SPDX-License-Identifier: Apache-2.0
"""Indexes that were lost or damaged: gc makes them again from the packs."""

from __future__ import annotations

from pathlib import Path

import pytest

from onebackup_driver.repository import gc, repository, verify
from onebackup_driver.repository.repository import Repository

from . import disks
from .test_gc import age

DISK = disks.content(8)


def indexes(made: Repository) -> list[Path]:
    return sorted((made.store.root / "index").iterdir())  # type: ignore[attr-defined]


def reopened(made: Repository) -> Repository:
    return repository.open(made.store, disks.KEY if made.vault.encrypted else None)


@pytest.mark.parametrize("damage", ["lost", "head", "bucket", "cut off"])
def test_deduplication_comes_back(small: Repository, damage: str) -> None:
    first = disks.save(small, DISK)
    second = disks.save(small, disks.changed(DISK, 5), first.name)  # its recipes use packs of the first one
    used = small.usage().used_bytes
    for path in indexes(small):
        content = bytearray(path.read_bytes())
        path.unlink()
        if damage != "lost":
            content[40 if damage == "head" else -3] ^= 1
            path.write_bytes(content[:-5] if damage == "cut off" else content)

    age(small, 25)  # of younger packs a run under way may publish the index yet
    dry = gc.collect(reopened(small), dry_run=True)
    assert len(dry.damaged) == (0 if damage == "lost" else 2) and len(dry.unindexed) >= 2
    report = gc.collect(reopened(small))
    assert (len(report.damaged), len(report.unindexed)) == (len(dry.damaged), len(dry.unindexed))
    assert abs(small.usage().used_bytes - used) < used // 10
    whole = reopened(small)
    assert verify.verify(whole).is_whole
    again = disks.save(whole, disks.changed(DISK, 5))
    assert again.stored_bytes == 0, "everything is found again"
    for point, content in ((first, DISK), (second, disks.changed(DISK, 5)), (again, disks.changed(DISK, 5))):
        assert disks.restored(whole, point) == content
    assert gc.collect(whole).unindexed == []
