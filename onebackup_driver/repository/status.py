# SPDX-License-Identifier: Apache-2.0
"""What a repository holds, in numbers."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Optional

from onebackup_driver.repository import marking, notes, verified
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.marking import Progress
from onebackup_driver.repository.repository import Repository


@dataclass(frozen=True)
class Day:
    """Growth: what was added on a day (UTC) by the restore points that are there."""

    date: str
    restore_points: int
    new_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class Status:
    """`disk_bytes` as the disks are large, `data_bytes` in cells with data, `new_bytes` of them stored once,
    `stored_bytes` compressed. Deduplication is data_bytes / new_bytes, compression new_bytes / stored_bytes
    (None while there is nothing). `oldest_verification`: the pack that was not verified for the longest time (0: some
    never were). `damaged_packs`: those of needed ones in which verify has found damage."""

    place: str
    repository_id: str
    encrypted: bool
    restore_points: int
    disk_bytes: int
    data_bytes: int
    new_bytes: int
    stored_bytes: int
    used_mb: int
    free_mb: Optional[int]
    deduplication: Optional[float]
    compression: Optional[float]
    growth: list[Day]
    oldest_verification: float
    damaged_packs: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def of(repository: Repository, progress: Optional[Progress] = None) -> Status:
    """Read all manifests' heads, and which packs they name. `progress(done, of manifests)`. Raises Damaged,
    StoreFailed."""
    points = read(repository, progress)
    disk, data, new, stored = (
        sum(getattr(point, name) for point in points)
        for name in ("size_bytes", "data_bytes", "new_bytes", "stored_bytes")
    )
    days: dict[str, Day] = {}
    for point in points:
        date = time.strftime("%Y-%m-%d", time.gmtime(point.created))
        day = days.get(date, Day(date, 0, 0, 0))
        days[date] = Day(
            date, day.restore_points + 1, day.new_bytes + point.new_bytes, day.stored_bytes + point.stored_bytes
        )
    usage, packs = repository.usage(), marking.of_manifests(repository, [point.name for point in points])
    seen = verified.History(repository).last_verified()
    damaged = [known.packs for known in notes.condemned(repository, []) if known.reason == notes.DAMAGED]
    return Status(
        place=repository.store.place, repository_id=repository.header.repository_id.hex(),
        encrypted=repository.header.encrypted, restore_points=len(points), disk_bytes=disk, data_bytes=data,
        new_bytes=new, stored_bytes=stored, used_mb=usage.used_mb, free_mb=usage.free_mb,
        deduplication=data / new if new else None, compression=new / stored if stored else None,
        growth=list(days.values()), oldest_verification=min((seen.get(pack_id, 0.0) for pack_id in packs), default=0.0),
        damaged_packs=len(packs & frozenset[bytes]().union(*damaged)),
    )  # fmt: skip


def read(repository: Repository, progress: Optional[Progress] = None) -> list[Manifest]:
    """All restore points, oldest first. Raises Damaged, StoreFailed."""
    total, points = len(repository.names()) if progress is not None else 0, list[Manifest]()
    for point in repository.manifests():
        points.append(point)
        if progress is not None:
            progress(len(points), total)
    return points
