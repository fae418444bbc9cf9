# SPDX-License-Identifier: Apache-2.0
"""Which older restore points go when a new one is good."""

from __future__ import annotations

from onebackup_driver.catalogue import RestorePoint


def superseded(points: list[RestorePoint], new: RestorePoint) -> list[RestorePoint]:
    """The restore points of the same VM that the new one replaces, oldest first: the stock behaviour without
    `--keep-backup`. Older is what has the lower id: ids only grow, a clock may have been wrong. Empty when `new` is not
    in the list or not whole there: nothing is deleted by such a list."""
    if new.backup_id not in [point.backup_id for point in points if not point.problems]:
        return []
    return [
        point
        for point in points
        if point.backup_id < new.backup_id
        and (point.vm_id, point.vm_started) == (new.vm_id, new.vm_started)
        and point.time >= 0
        and not point.kept
    ]
