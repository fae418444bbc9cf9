# SPDX-License-Identifier: Apache-2.0
"""The VM's template and disks are saved on the front-end: a template and one image per disk, all temporary."""

from __future__ import annotations

from typing import Optional

from lxml import etree

from onebackup_driver import cloud, errors, names, restore_template, states, template_text, waiting, xml_values
from onebackup_driver.context import Context
from onebackup_driver.vm import Disk, VirtualMachine
from onebackup_driver.xml_values import Vector

#: one.vm.disksaveas: take the disk as it is now, not one of its snapshots.
_NOW = -1


def save_template(context: Context, machine: VirtualMachine, name: str, tag: Vector) -> int:
    """Make the temporary template; what oned would not take back in a restore shows here, with the VM running.

    `tag` is what another front-end needs to undo the run without our journal (strays.py).
    """
    text = template_text.render([("NAME", name), ("ONEBACKUP", tag), *restore_template.stock_text(machine)])
    try:
        return cloud.create(context, "template", name, "one.template.allocate", text)
    except errors.CallRefused as error:
        raise errors.Failed(f"VM {machine.vm_id} cannot be saved as a template: {error}") from error


def add_disks(context: Context, template_id: int, images: dict[int, etree._Element]) -> None:
    """Name the saved images in the temporary template."""
    disks = [("DISK", {"IMAGE_ID": xml_values.text(image, "ID")}) for image in images.values()]
    if disks:
        context.front_end.repeat("one.template.update", template_id, template_text.render(disks), 1)


def save_disk(
    context: Context, machine: VirtualMachine, disk: Disk, backup_name: str, rest: states.VmState
) -> etree._Element:
    """Copy one disk into an image and see it READY and the VM back at `rest`; the image's XML.

    The return value of disksaveas says nothing: a copy that fails later ends in an image in ERROR (opennebula.md B2).
    """
    name, vm_id = names.disk(backup_name, disk.disk_id), machine.vm_id
    what = f"disk {disk.disk_id} of VM {vm_id}"
    try:
        image_id = cloud.create(context, "image", name, "one.vm.disksaveas", vm_id, disk.disk_id, name, "", _NOW)
    except errors.CallRefused as error:
        raise errors.Failed(f"the front-end refused to save {what}: {error}") from error

    def look() -> Optional[etree._Element]:
        return _look(context, machine, image_id, rest, what)

    return waiting.until(
        look, context.timeouts.save_disk_s, f"saving {what} into image {image_id} did not end", 0.5, "save_disk_s"
    )


def prove_undisturbed(context: Context, before: VirtualMachine, rest: states.VmState) -> None:
    """Raise Failed when the VM was started while its disks were copied: they would not be of one moment. Or a disk was
    resized: its copy and what is recorded of it would not agree."""
    now = cloud.machine(context, before.vm_id)
    if now.state != rest or now.starts_since(before.history_sequence):
        raise errors.Failed(
            f"VM {before.vm_id} was started by somebody else while its disks were saved (it is {now.state}):"
            " the copies are not of one moment"
        )
    sizes = {disk.disk_id: disk.size_mb for disk in before.disks}
    for disk in now.disks:
        if disk.size_mb != sizes.get(disk.disk_id, disk.size_mb):
            raise errors.Failed(f"disk {disk.disk_id} was resized by somebody else while VM {before.vm_id} was saved")


def _look(
    context: Context, before: VirtualMachine, image_id: int, rest: states.VmState, what: str
) -> Optional[etree._Element]:
    try:
        image = cloud.image(context, image_id)
    except errors.NoSuchObject as error:
        raise errors.Failed(f"image {image_id}, into which {what} was saved, was deleted by somebody else") from error
    machine = cloud.machine(context, before.vm_id)
    state = xml_values.number(image, "STATE")
    if state == states.IMAGE_ERROR:
        new = machine.error_text if machine.error_text != before.error_text else ""
        reason = xml_values.text(image, "TEMPLATE/ERROR") or new or "the front-end gives no reason"
        raise errors.Failed(
            f"saving {what} failed on the host, image {image_id} went to ERROR: {reason};"
            f" more is in /var/log/one/{before.vm_id}.log"
        )
    if machine.state != rest and machine.state != (states.ACTIVE, states.SAVING[rest]):
        raise errors.Failed(f"VM {before.vm_id} went to {machine.state} while {what} was saved")
    return image if state == states.IMAGE_READY and machine.state == rest else None
