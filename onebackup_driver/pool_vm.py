# SPDX-License-Identifier: Apache-2.0
"""A VM of the pool as planning needs it: a small part of what one.vmpool.infoextended shows of it."""

from __future__ import annotations

from typing import NamedTuple, Optional

from lxml import etree

from onebackup_driver import states, vm, xml_values
from onebackup_driver.xml_values import Vector


class PoolVm(NamedTuple):
    """`host_id` is -1 for a VM that is on no host. `datastore_ids` and `size_mb` are those of its image disks.
    `told` is the VM's ONEBACKUP attribute, empty when there is none; its owner can edit it."""

    vm_id: int
    name: str
    uid: int
    state: states.VmState
    started: int
    host_id: int
    datastore_ids: tuple[int, ...]
    size_mb: int
    lock_level: int
    backup: Optional[Vector]
    told: Vector


def parse(element: etree._Element) -> Optional[PoolVm]:
    """A VM from its `<VM>` element; None when it has neither BACKUP nor ONEBACKUP, so that nothing is to be planned."""
    template = element.find("USER_TEMPLATE")
    backup = None if template is None else template.find("BACKUP")
    told = None if template is None else template.find("ONEBACKUP")
    if backup is None and told is None:
        return None
    state = vm.state_of(element)
    datastore_ids, size_mb = _disks(element)
    return PoolVm(
        vm_id=xml_values.number(element, "ID"),
        name=xml_values.text(element, "NAME"),
        uid=xml_values.number(element, "UID"),
        state=state,
        started=xml_values.number(element, "STIME", 0),
        host_id=_host(element) if state.state == states.ACTIVE else -1,
        datastore_ids=datastore_ids,
        size_mb=size_mb,
        lock_level=xml_values.number(element, "LOCK/LOCKED", 0),
        backup=None if backup is None else xml_values.vector(backup),
        told=xml_values.vector(told),
    )


def _host(element: etree._Element) -> int:
    history = element.findall("HISTORY_RECORDS/HISTORY")
    return xml_values.number(history[-1], "HID") if history else -1


def _disks(element: etree._Element) -> tuple[tuple[int, ...], int]:
    datastore_ids, size_mb = set(), 0
    for disk in element.iterfind("TEMPLATE/DISK"):
        is_image = xml_values.number(disk, "IMAGE_ID") >= 0 and xml_values.text(disk, "TYPE").upper() != "CDROM"
        if is_image:
            datastore_ids.add(xml_values.number(disk, "DATASTORE_ID"))
            size_mb += xml_values.number(disk, "SIZE", 0)
    return tuple(sorted(datastore_ids)), size_mb
