# SPDX-License-Identifier: Apache-2.0
"""Which restore point a restore takes."""

from __future__ import annotations

from typing import Optional

from onebackup_driver import catalogue, errors, units, xml_values
from onebackup_driver.catalogue import RestorePoint


def choose(points: list[RestorePoint], vm_id: int, wanted: str = "") -> RestorePoint:
    """The newest restore point that can be restored, or the one `wanted` names (its id, or its time as `list` shows
    it, or a beginning of that). Raises Refused saying what there is."""
    own = catalogue.of_vm(points, vm_id)
    if not own:
        raise errors.Refused(f"there is no restore point of VM {vm_id}")
    if wanted:
        found = [point for point in own if _is(point, wanted)] or [point for point in own if _begins(point, wanted)]
        if len(found) != 1:
            known = ", ".join(f"{point.backup_id} ({units.local_time(point.time)})" for point in own)
            problem = "no restore point" if not found else "more than one restore point"
            raise errors.Refused(f"{problem} of VM {vm_id} is called {wanted!r}; there are: {known}")
        return usable(found[0])
    good = [point for point in own if not point.problems]
    if not good:
        raise errors.Refused(
            f"none of the {len(own)} restore point(s) of VM {vm_id} can be restored;"
            f" the newest, {own[-1].backup_id}: {'; '.join(own[-1].problems)}; see: onebackup list {vm_id}"
        )
    return good[-1]


def usable(point: RestorePoint) -> RestorePoint:
    """The restore point, when it can be restored. Raises Refused."""
    if point.problems:
        raise errors.Refused(f"restore point {point.backup_id} cannot be restored: {'; '.join(point.problems)}")
    return point


def _is(point: RestorePoint, wanted: str) -> bool:
    number: Optional[int] = xml_values.whole_number(wanted)
    return number is not None and number in (point.backup_id, point.time)


def _begins(point: RestorePoint, wanted: str) -> bool:
    return units.local_time(point.time).startswith(wanted.replace("T", " "))
