# SPDX-License-Identifier: Apache-2.0
"""What a restore brings back: from a restore point of ours, or from one that a stock 6.0-6.4 front-end made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from onebackup_driver import app, catalogue, choosing, cloud, errors, manifest, states, trust, vm, xml_values
from onebackup_driver.app import App
from onebackup_driver.context import Context

_STOCK_ATTRIBUTE = r'^\s*{name}\s*=\s*"?([A-Za-z0-9_]+)"?\s*$'


@dataclass(frozen=True)
class SourceDisk:
    """One image to make: `disk_id` is -1 in a stock restore point, which does not know it."""

    disk_id: int
    app: App
    image_type: str
    device_prefix: str
    persistent: bool


@dataclass(frozen=True)
class Source:
    """`machine`: the VM as it was; None in a stock restore point, whose `stock_template` is the text to use."""

    backup_id: int
    vm_id: int
    vm_name: str
    time: int
    disks: tuple[SourceDisk, ...]
    machine: Optional[vm.VirtualMachine]
    stock_template: str = ""


def of_vm(context: Context, vm_id: int, wanted: str) -> Source:
    """The restore point of a VM (`wanted`: its id or time; else the newest). The VM itself need not exist any more."""
    machine = _machine(context, vm_id)
    apps = cloud.apps(context)
    points = trust.points(context, apps, -1 if machine is None else machine.uid)
    if not catalogue.of_vm(points, vm_id):
        hint = _stock_hint(machine, apps) or "; all there are: onebackup list"
        raise errors.Refused(f"there is no restore point of VM {vm_id}{hint}")
    return _ours(choosing.choose(points, vm_id, wanted))


def of_app(context: Context, app_id: int) -> Source:
    """The restore point whose VMTEMPLATE app has this id. Raises Refused when it is not one, or not to be trusted."""
    apps = cloud.apps(context)
    found = next((item for item in apps if item.app_id == app_id), None)
    if found is None:
        raise errors.Refused(f"there is no app {app_id} on this front-end; see: onemarketapp list")
    if found.kind != states.APP_TYPE_VMTEMPLATE:
        raise errors.Refused(f"app {app_id} ({found.name}) is not a VM template; a restore point is named by that app")
    _check_owner(context, found)
    point = next((item for item in trust.points(context, apps) if item.backup_id == app_id), None)
    return _ours(choosing.usable(point)) if point is not None else _stock(found, apps)


def _check_owner(context: Context, vm_app: App) -> None:
    """A restore makes what the app says with our rights: nobody else may have been able to write it."""
    if not trust.is_restorable(context, vm_app):
        raise errors.Refused(trust.doubt(context, vm_app))


def _ours(point: catalogue.RestorePoint) -> Source:
    element = manifest.read_vm(point.vm_app.element)
    if element is None:
        raise errors.Refused(
            f"restore point {point.backup_id} carries no readable VM; its disks are the apps {point.app_ids}"
        )
    machine = vm.parse(element)
    by_id = {disk.disk_id: disk for disk in machine.disks}
    disks = []
    for saved, image_app in point.disks:
        disk = by_id.get(saved.disk_id)
        if image_app is None or disk is None:
            raise errors.Refused(
                f"restore point {point.backup_id} names disk {saved.disk_id}, which its VM does not have"
            )
        disks.append(_source_disk(saved.disk_id, image_app, disk.attributes.get("DEV_PREFIX", ""), disk.persistent))
    return Source(point.backup_id, point.vm_id, machine.name, point.time, tuple(disks), machine)


def _stock(found: App, apps: list[App]) -> Source:
    """Disks are linked to image apps by name there (opennebula.md 1.3)."""
    disks = []
    for disk in found.element.findall("TEMPLATE/DISK"):
        name = xml_values.text(disk, "APP")
        image = next(
            (
                item
                for item in apps
                if (item.name, item.marketplace_id, item.uid) == (name, found.marketplace_id, found.uid)
            ),
            None,
        )
        if image is None or image.state != states.APP_READY:
            problem = "is gone" if image is None else f"is {states.app(image.state)}"
            raise errors.Refused(f"app {found.app_id} cannot be restored: its image app {name!r} {problem}")
        disks.append(_source_disk(-1, image, "", False))
    template = manifest.decode(xml_values.text(found.element, "APPTEMPLATE64"))
    if not disks or not template:
        raise errors.Refused(f"app {found.app_id} ({found.name}) is not a backup: it has no template or no disk")
    name = found.name.split(" - BACKUP ")[0]
    return Source(found.app_id, -1, name, found.registered, tuple(disks), None, template)


def _source_disk(disk_id: int, image: app.App, device_prefix: str, persistent: bool) -> SourceDisk:
    # Never the whole APPTEMPLATE64: an app's owner could have written any image attribute into it.
    text = manifest.decode(xml_values.text(image.element, "APPTEMPLATE64"))
    kind = _stock_attribute(text, "TYPE")
    return SourceDisk(
        disk_id,
        image,
        kind if kind in ("OS", "DATABLOCK") else "OS",
        device_prefix or _stock_attribute(text, "DEV_PREFIX"),
        persistent,
    )


def _stock_attribute(text: str, name: str) -> str:
    found = re.search(_STOCK_ATTRIBUTE.format(name=name), text, re.MULTILINE)
    return found.group(1) if found else ""


def _machine(context: Context, vm_id: int) -> Optional[vm.VirtualMachine]:
    try:
        return cloud.machine(context, vm_id)
    except errors.Refused:
        return None


def _stock_hint(machine: Optional[vm.VirtualMachine], apps: list[App]) -> str:
    """Ids in USER_TEMPLATE are never read by us, but a person may be told of one, when it is that of an app which a
    stock backup can have made, and of which VM. The VM's owner could have written the id of any app there."""
    if machine is None:
        return ""
    last = xml_values.whole_number((machine.backup or {}).get("MARKETPLACE_APP_IDS", "").split(",")[-1])
    found = next((item for item in apps if item.app_id == last), None)
    if found is None or found.kind != states.APP_TYPE_VMTEMPLATE or found.tags or " - BACKUP " not in found.name:
        return ""
    return (
        f"; its BACKUP names app {last} ({found.name}): if that is a backup of this VM made by OpenNebula itself,"
        f" name it with --app {last}"
    )
