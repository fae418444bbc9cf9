# SPDX-License-Identifier: Apache-2.0
"""A VM as the front-end shows it (one.vm.info)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from lxml import etree

from onebackup_driver import states, xml_values
from onebackup_driver.xml_values import Vector

#: Monitoring saw that the guest had shut itself down (include/VMActions.h).
_BY_ITSELF = 44
#: undeploy(-hard), stop, suspend, poweroff(-hard), terminate(-hard).
_STOPPING_ACTIONS = (5, 6, 9, 10, 19, 20, 27, 28, _BY_ITSELF)
#: live migration; disks, NICs, snapshots, capacity, security groups, PCI, native backup and restore, commands in the
#: guest (include/VMActions.h): they end a history record and begin another one without starting or stopping the VM.
_CHANGING_ACTIONS = (2, *range(21, 27), 29, 35, 41, 46, 47, 50, 51, *range(56, 64))

IMAGE, CDROM, VOLATILE = "image", "CD-ROM", "volatile"


@dataclass(frozen=True)
class Disk:
    """One DISK: `kind` is image (can be saved), CD-ROM (is referenced) or volatile (has no image to save to)."""

    disk_id: int
    kind: str
    image_id: int
    size_mb: int
    persistent: bool
    attributes: Vector


@dataclass(frozen=True)
class VirtualMachine:
    """What a backup needs to know of a VM. `history_sequence` is SEQ of the last HISTORY: it grows with every start of
    the VM and with changes like a grown disk, not with a stop (close_cp_history in dm/DispatchManagerActions.cc)."""

    vm_id: int
    name: str
    uid: int
    gid: int
    state: states.VmState
    started: int
    lock_level: int
    disks: tuple[Disk, ...]
    backup: Optional[Vector]
    history_sequence: int
    hypervisor_driver: str
    element: etree._Element

    @property
    def snapshot_disk_ids(self) -> list[int]:
        """The disks that have snapshots, which a backup does not keep."""
        return [xml_values.number(item, "DISK_ID") for item in self.element.findall("SNAPSHOTS")]

    def starts_since(self, sequence: int) -> int:
        """How often the VM was started after its history record `sequence`, also in vain. A change or a migration at
        rest begins a record too, but no start: the record before says that it was a change, or the new one never ran.
        """
        history = self.element.findall("HISTORY_RECORDS/HISTORY")
        before = {xml_values.number(item, "SEQ"): xml_values.number(item, "ACTION") for item in history}
        return sum(
            xml_values.number(item, "RSTIME", 0) > 0
            and before.get(xml_values.number(item, "SEQ") - 1) not in _CHANGING_ACTIONS
            for item in history
            if xml_values.number(item, "SEQ") > sequence
        )

    @property
    def was_stopped(self) -> bool:
        """Whether its last start ended by a user's action or by its guest; a resume that failed leaves RESUME in its
        HISTORY record (or nothing). A migration at rest has a record that never ran."""
        history = self.element.iterfind("HISTORY_RECORDS/HISTORY")
        ran = [item for item in history if xml_values.number(item, "RSTIME", 0)]
        return bool(ran) and xml_values.number(ran[-1], "ACTION") in _STOPPING_ACTIONS

    def was_stopped_by_another(self, sequence: int, own_uid: int) -> bool:
        """Whether its guest, or a user who is not `own_uid`, ended the history record `sequence` by stopping the VM."""
        for item in self.element.iterfind("HISTORY_RECORDS/HISTORY"):
            if xml_values.number(item, "SEQ") == sequence:
                action, uid = xml_values.number(item, "ACTION"), xml_values.number(item, "UID")
                return action == _BY_ITSELF or (action in _STOPPING_ACTIONS and uid not in (-1, own_uid))
        return False

    @property
    def error_text(self) -> str:
        """The ERROR attribute oned leaves after a failed operation, or nothing."""
        return xml_values.text(self.element, "USER_TEMPLATE/ERROR")


def parse(element: etree._Element) -> VirtualMachine:
    """A VM from its `<VM>` element."""
    history = element.findall("HISTORY_RECORDS/HISTORY")
    last = history[-1] if history else None
    return VirtualMachine(
        vm_id=xml_values.number(element, "ID"),
        name=xml_values.text(element, "NAME"),
        uid=xml_values.number(element, "UID"),
        gid=xml_values.number(element, "GID"),
        state=state_of(element),
        started=xml_values.number(element, "STIME", 0),
        lock_level=xml_values.number(element, "LOCK/LOCKED", 0),
        disks=tuple(_disk(item) for item in element.findall("TEMPLATE/DISK")),
        backup=_backup(element),
        history_sequence=-1 if last is None else xml_values.number(last, "SEQ"),
        hypervisor_driver="" if last is None else xml_values.text(last, "VM_MAD"),
        element=element,
    )


def state_of(element: etree._Element) -> states.VmState:
    """STATE and LCM_STATE; the latter only counts while ACTIVE."""
    state = xml_values.number(element, "STATE")
    return states.VmState(state, xml_values.number(element, "LCM_STATE", 0) if state == states.ACTIVE else 0)


def permissions(element: etree._Element) -> tuple[int, ...]:
    """The nine permission bits in the order one.*.chmod takes them."""
    names = [f"{who}_{what}" for who in ("OWNER", "GROUP", "OTHER") for what in "UMA"]
    return tuple(xml_values.number(element, f"PERMISSIONS/{name}", 0) for name in names)


def _backup(element: etree._Element) -> Optional[Vector]:
    section = element.find("USER_TEMPLATE/BACKUP")
    return None if section is None else xml_values.vector(section)


def _disk(element: etree._Element) -> Disk:
    attributes = xml_values.vector(element)
    image_id = xml_values.whole_number(attributes.get("IMAGE_ID", ""))
    if image_id is None:
        kind = VOLATILE
    else:
        kind = CDROM if attributes.get("TYPE", "").upper() == "CDROM" else IMAGE
    return Disk(
        disk_id=xml_values.number(element, "DISK_ID"),
        kind=kind,
        image_id=-1 if image_id is None else image_id,
        size_mb=xml_values.number(element, "SIZE", 0),
        persistent=attributes.get("PERSISTENT", "").upper() == "YES",
        attributes=attributes,
    )
