# SPDX-License-Identifier: Apache-2.0
"""Indexes that were lost or damaged are made again from the packs."""

from __future__ import annotations

import pytest

from onebackup_driver.repository import gc, reindexing, verify
from onebackup_driver.repository.repository import Repository

from . import disks
from .index_files import DAMAGES, DISK, finds_everything, harm, indexes, reopened, two_points
from .test_gc import age


@pytest.mark.parametrize("damage", DAMAGES)
def test_deduplication_comes_back(small: Repository, damage: str) -> None:
    points = two_points(small)
    used = small.usage().used_bytes
    harm(small, damage)

    dry = reindexing.reindex(reopened(small), dry_run=True)
    assert len(dry.removed) == (0 if damage == "lost" else 2) and dry.packs >= 2 and dry.made == 0
    report = reindexing.reindex(reopened(small))
    assert (report.packs, report.made, report.unreadable) == (dry.packs, 1, {})
    assert len(indexes(small)) == 1 and abs(small.usage().used_bytes - used) < used // 10
    whole = reopened(small)
    finds_everything(whole, *points)
    assert reindexing.reindex(whole).packs == 0


def test_what_cannot_be_indexed_is_left_out(small: Repository) -> None:
    two_points(small)
    for path in indexes(small):
        path.unlink()
    packs = sorted(path for path in (small.store.root / "packs").rglob("*") if path.is_file())  # type: ignore
    packs[0].write_bytes(packs[0].read_bytes()[:-3])
    report = reindexing.reindex(reopened(small))
    (name,) = report.unreadable
    assert name.endswith(packs[0].name) and "left out: " in report.lines()[-1]


def test_condemned_packs_stay_out(small: Repository) -> None:
    garbage = disks.save(small, disks.content(8, seed=7))
    kept = disks.save(small, DISK)
    small.delete(garbage.name)
    age(small, 25)
    assert gc.collect(small).condemned_now
    for path in indexes(small):
        path.unlink()
    reindexing.reindex(reopened(small))
    age(small, 37)
    assert gc.collect(small).deleted
    assert disks.restored(small, kept) == DISK and verify.verify(small).is_whole
