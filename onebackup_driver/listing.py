# SPDX-License-Identifier: Apache-2.0
"""What restore points there are."""

from __future__ import annotations

from typing import Any, Optional

from onebackup_driver import catalogue, cloud, errors, trust, units, xml_values
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.context import Context


def restore_points(context: Context, vm_id: Optional[int]) -> list[RestorePoint]:
    """All restore points, or those of one VM, oldest first."""
    uid = -1
    if vm_id is not None:
        try:
            uid = cloud.machine(context, vm_id).uid
        except errors.Refused:
            pass  # a VM that is gone may well have restore points
    points = trust.points(context, cloud.apps(context), uid)
    return points if vm_id is None else catalogue.of_vm(points, vm_id)


def as_data(point: RestorePoint) -> dict[str, Any]:
    """A restore point for --json."""
    tags = point.vm_app.tags
    return {
        "id": point.backup_id,
        "vm_id": point.vm_id,
        "vm_name": tags.get("VM_NAME", ""),
        "time": point.time,
        "local_time": units.local_time(point.time),
        "marketplace_id": point.vm_app.marketplace_id,
        "mode": tags.get("MODE", ""),
        "consistency": tags.get("CONSISTENCY", ""),
        "kept": point.kept,
        "run": point.run,
        "size_mb": point.size_mb,
        "not_saved": _numbers(tags.get("NOT_SAVED", "")),
        "disks": [
            {
                "disk_id": disk.disk_id,
                "app_id": disk.app_id,
                "size_mb": disk.size_mb,
                "md5": disk.md5,
                "format": disk.format,
            }
            for disk, _ in point.disks
        ],
        "problems": list(point.problems),
    }


def _numbers(text: str) -> list[int]:
    found = (xml_values.whole_number(item) for item in text.split(","))
    return [number for number in found if number is not None]
