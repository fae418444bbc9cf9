# SPDX-License-Identifier: Apache-2.0
"""A restore point's apps: what is written into them and how it is read back (docs/attributes.md).

The VMTEMPLATE app is the manifest: it is made last, names every IMAGE app, and carries the whole VM. A stock front-end
can export it too, because the stock attributes (APPTEMPLATE64, DISK=[NAME, APP]) are there as the stock tool writes
them (OpenNebula 6.4 src/oca/ruby/opennebula/template_ext.rb).
"""

from __future__ import annotations

import base64
import binascii
from copy import deepcopy
from dataclasses import dataclass
from typing import Optional

from lxml import etree

from onebackup_driver import errors, template_text, xml_text, xml_values
from onebackup_driver.vm import Disk, VirtualMachine
from onebackup_driver.xml_values import Attribute, Vector

FORMAT = "1"
ROLE_VM, ROLE_DISK, ROLE_TEMPORARY = "vm", "disk", "temporary"
#: A VM's XML beyond this is not ours to read.
_VM_LIMIT_BYTES = 16 * 1024 * 1024
#: What is written: twice, in Base64, it has to fit into the 16 MB that OpenNebula's database has for an app.
_VM_WRITTEN_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class SavedDisk:
    """One disk of a restore point: what was saved and what the marketplace says it stored. `source` is known only of
    one that was just made."""

    disk_id: int
    app_id: int
    app_name: str
    size_mb: int
    md5: str
    format: str
    source: str = ""


def tags(machine: VirtualMachine, run: str, role: str, moment: int) -> Vector:
    """The ONEBACKUP attribute that every object of a run carries from its creation."""
    return {
        "RUN": run,
        "ROLE": role,
        "VM_ID": str(machine.vm_id),
        "VM_NAME": template_text.one_line(machine.name, 128),
        "VM_STARTED": str(machine.started),
        "TIME": str(moment),
    }


def image_app(name: str, image: etree._Element, disk: Disk, version: str, tag: Vector) -> str:
    """Template text of an IMAGE app for the saved image."""
    prefix = xml_values.text(image, "TEMPLATE/DEV_PREFIX")
    inner: list[Attribute] = [("TYPE", "DATABLOCK" if xml_values.number(image, "TYPE") == 2 else "OS")]
    if prefix:
        inner.append(("DEV_PREFIX", prefix))
    return template_text.render(
        [
            ("NAME", name),
            ("ORIGIN_ID", xml_values.text(image, "ID")),
            ("TYPE", "IMAGE"),
            ("VERSION", version),
            ("APPTEMPLATE64", encode(template_text.render(inner) + "\n")),
            ("ONEBACKUP", {**tag, "DISK_ID": str(disk.disk_id)}),
        ]
    )


def vm_app(
    name: str, stock_template: str, version: str, tag: Vector, disks: list[SavedDisk], machine: VirtualMachine
) -> str:
    """Template text of the VMTEMPLATE app. `tag` carries what the restore point says of itself (MODE, …)."""
    attributes: list[Attribute] = [
        ("NAME", name),
        ("ORIGIN_ID", "-1"),
        ("TYPE", "VMTEMPLATE"),
        ("VERSION", version),
        ("APPTEMPLATE64", encode(stock_template)),
        ("ONEBACKUP", {"FORMAT": FORMAT, **tag}),
        ("ONEBACKUP_VM", encode(kept_vm(machine.element))),
    ]
    for number, disk in enumerate(disks):
        attributes.append(("DISK", {"NAME": f"OS_{number}", "APP": disk.app_name}))
        attributes.append(
            (
                "ONEBACKUP_DISK",
                {
                    "DISK_ID": str(disk.disk_id),
                    "APP_ID": str(disk.app_id),
                    "SIZE_MB": str(disk.size_mb),
                    "MD5": disk.md5,
                    "FORMAT": disk.format,
                },
            )
        )
    return template_text.render(attributes)


def check_size(machine: VirtualMachine) -> None:
    """Raise Refused for a VM with more in its templates than an app can hold; before the VM is touched."""
    size = len(kept_vm(machine.element).encode("utf-8"))
    if size > _VM_WRITTEN_BYTES:
        raise errors.Refused(
            f"VM {machine.vm_id} has {size // 1024} KiB in its template and attributes, a restore point keeps at most"
            f" {_VM_WRITTEN_BYTES // 1024} KiB; remove what is large with: onevm update {machine.vm_id}"
        )


def kept_vm(element: etree._Element) -> str:
    """The VM's XML without what only grows (older history, monitoring); secrets stay as oned shows them, encrypted."""
    copy = deepcopy(element)
    for monitoring in copy.findall("MONITORING"):
        for child in list(monitoring):
            monitoring.remove(child)
    records = copy.find("HISTORY_RECORDS")
    if records is not None:
        for record in list(records)[:-1]:
            records.remove(record)
    return etree.tostring(copy, encoding="unicode")


def read_disks(app: etree._Element) -> list[SavedDisk]:
    """The disks a VMTEMPLATE app of ours names."""
    names = {}
    for number, disk in enumerate(app.findall("TEMPLATE/DISK")):
        names[number] = xml_values.text(disk, "APP")
    return [
        SavedDisk(
            disk_id=xml_values.number(item, "DISK_ID"),
            app_id=xml_values.number(item, "APP_ID"),
            app_name=names.get(number, ""),
            size_mb=xml_values.number(item, "SIZE_MB", 0),
            md5=xml_values.text(item, "MD5"),
            format=xml_values.text(item, "FORMAT"),
        )
        for number, item in enumerate(app.findall("TEMPLATE/ONEBACKUP_DISK"))
    ]


def read_vm(app: etree._Element) -> Optional[etree._Element]:
    """The VM that a VMTEMPLATE app of ours carries; None when it is missing or damaged."""
    text = decode(xml_values.text(app, "TEMPLATE/ONEBACKUP_VM"))
    # `kept_vm` writes nothing before the element: whatever begins otherwise is not from us.
    if not text.startswith("<VM>"):
        return None
    try:
        return xml_text.parse(text, _VM_LIMIT_BYTES)
    except xml_text.Unreadable:
        return None


def encode(text: str) -> str:
    """Base64 of the UTF-8 text."""
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def decode(text: str) -> str:
    """The text behind `encode`; empty when it is not Base64 of UTF-8."""
    try:
        return base64.b64decode(text, validate=False).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
