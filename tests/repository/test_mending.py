# SPDX-License-Identifier: Apache-2.0
"""Indexes that were lost or damaged: gc makes them again from the packs."""

from __future__ import annotations

import pytest

from onebackup_driver.repository import gc
from onebackup_driver.repository.repository import Repository

from .index_files import DAMAGES, finds_everything, harm, reopened, two_points
from .test_gc import age


@pytest.mark.parametrize("damage", DAMAGES)
def test_deduplication_comes_back(small: Repository, damage: str) -> None:
    points = two_points(small)
    used = small.usage().used_bytes
    harm(small, damage)

    age(small, 25)  # of younger packs a run under way may publish the index yet
    dry = gc.collect(reopened(small), dry_run=True)
    assert len(dry.damaged) == (0 if damage == "lost" else 2) and len(dry.unindexed) >= 2
    report = gc.collect(reopened(small))
    assert (len(report.damaged), len(report.unindexed)) == (len(dry.damaged), len(dry.unindexed))
    assert abs(small.usage().used_bytes - used) < used // 10
    whole = reopened(small)
    finds_everything(whole, *points)
    assert gc.collect(whole).unindexed == []
