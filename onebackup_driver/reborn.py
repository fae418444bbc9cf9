# SPDX-License-Identifier: Apache-2.0
"""The restored VM: its template, its networks, its owner; and how to be rid of it when the restore fails."""

from __future__ import annotations

from typing import Optional

from onebackup_driver import (
    cloud,
    errors,
    granted,
    networks,
    restore_template,
    states,
    template_text,
    waiting,
    xml_values,
)
from onebackup_driver import vm as vm_module
from onebackup_driver.context import Context
from onebackup_driver.source import Source
from onebackup_driver.vm import CDROM, IMAGE
from onebackup_driver.xml_values import Attribute, Vector


def template(context: Context, source: Source, made: list[int], keep_ip: bool, keep_nic: bool) -> list[Attribute]:
    """The attributes of the new VM's template; of a stock restore point only its disks."""
    if source.machine is None:
        return [
            ("DISK", {"IMAGE_ID": str(image_id), **_prefix(disk.device_prefix)})
            for image_id, disk in zip(made, source.disks)
        ]
    new = {disk.disk_id: image_id for disk, image_id in zip(source.disks, made)}
    _say_missing_disks(context, source, new)
    body = restore_template.body(source.machine, keep_uuid=_is_gone(context, source.machine.vm_id))
    nics = _nics(context, source, keep_ip) if keep_nic else []
    return body + _existing(context, restore_template.disks(source.machine, new)) + nics


def drop_nics(context: Context, template_id: int) -> None:
    """Take the NICs out of a template whose text was not ours."""
    element = context.front_end.element("one.template.info", template_id)
    kept = [item for item in xml_values.attributes(element.find("TEMPLATE")) if item[0] not in ("NIC", "NIC_ALIAS")]
    context.front_end.repeat("one.template.update", template_id, template_text.render(kept), 0)


def write_user_attributes(context: Context, source: Source, vm_id: int) -> None:
    """The user's own attributes: on the VM, where they are notes, not in its template, where they would be orders."""
    attributes = restore_template.user_attributes(source.machine) if source.machine is not None else []

    def update(wanted: list[Attribute]) -> None:
        if wanted:
            context.front_end.repeat("one.vm.update", vm_id, template_text.render(wanted), 1)

    granted.without_restricted(context, attributes, update)


def give_back_ownership(context: Context, source: Source, vm_id: int, template_id: int, made: list[int]) -> None:
    """The VM, its images and template go to the VM's owner with its permissions; an owner who is gone is only said."""
    if source.machine is None:
        return
    uid, gid = source.machine.uid, source.machine.gid
    context.front_end.repeat("one.vm.chmod", vm_id, *vm_module.permissions(source.machine.element))
    if (uid, gid) == (context.own_uid, _own_gid(context)):
        return
    objects = [("vm", vm_id), ("template", template_id), *(("image", image_id) for image_id in made)]
    for kind, object_id in objects:
        try:
            context.front_end.repeat(f"one.{kind}.chown", object_id, uid, gid)
        except errors.CallRefused as error:
            context.log.warning("%s %s stays ours, it cannot be given back to user %s: %s", kind, object_id, uid, error)


def made_from(context: Context, template_id: int) -> Optional[int]:
    """The VM that was instantiated from a template, if there is one."""
    pool = context.front_end.element("one.vmpool.infoextended", -2, -1, -1, -1)
    for item in pool.findall("VM"):
        if xml_values.number(item, "TEMPLATE/TEMPLATE_ID") == template_id:
            return xml_values.number(item, "ID")
    return None


def remove(context: Context, run: str) -> None:
    """Undo of a restore: the VM made from the run's template is terminated and seen gone."""
    for template_id in cloud.made_by(context, "template", run):
        vm_id = made_from(context, template_id)
        if vm_id is not None:
            _terminate(context, vm_id)


def _terminate(context: Context, vm_id: int) -> None:
    asked = False

    def look() -> Optional[bool]:
        nonlocal asked
        if cloud.machine(context, vm_id).state.state == states.DONE:
            return True
        if not asked:
            try:
                context.front_end.call("one.vm.action", "terminate-hard", vm_id)
                asked = True
            except errors.CallRefused as error:
                context.log.info("VM %s cannot be terminated yet: %s", vm_id, error)
        return None

    waiting.until(look, context.timeouts.undo_s, f"the half-restored VM {vm_id} could not be terminated")


def _prefix(device_prefix: str) -> Vector:
    return {"DEV_PREFIX": device_prefix} if device_prefix else {}


def _own_gid(context: Context) -> int:
    return xml_values.number(context.front_end.element("one.user.info", -1), "GID")


def _is_gone(context: Context, vm_id: int) -> bool:
    try:
        return cloud.machine(context, vm_id).state.state == states.DONE
    except errors.Refused:
        return True
    except errors.NotAuthorized:
        return False  # somebody else's by now


def _say_missing_disks(context: Context, source: Source, new: dict[int, int]) -> None:
    for disk in source.machine.disks if source.machine is not None else ():
        if disk.kind == IMAGE and disk.disk_id not in new:
            context.log.warning("Disk %s was not saved and does not come back", disk.disk_id)
        elif disk.kind not in (IMAGE, CDROM):
            context.log.warning("Disk %s was volatile: it is made anew, empty", disk.disk_id)


def _existing(context: Context, disks: list[Attribute]) -> list[Attribute]:
    """Without CD-ROMs whose image is gone."""
    kept: list[Attribute] = []
    for name, values in disks:
        image_id = xml_values.whole_number(values.get("IMAGE_ID", "")) if isinstance(values, dict) else None
        try:
            if image_id is not None:
                cloud.image(context, image_id)
            kept.append((name, values))
        except errors.NoSuchObject:
            context.log.warning("The CD-ROM image %s is gone: the VM comes back without it", image_id)
        except errors.NotAuthorized as error:
            context.log.warning(
                "The CD-ROM image %s cannot be used (%s): the VM comes back without it", image_id, error
            )
    return kept


def _nics(context: Context, source: Source, keep_ip: bool) -> list[Attribute]:
    assert source.machine is not None
    kept: list[Attribute] = []
    for kind, values in restore_template.nics(source.machine):
        if isinstance(values, dict):
            nic = _nic(context, values, keep_ip)
            if nic is not None:
                kept.append((kind, nic))
    return kept


def _nic(context: Context, nic: Vector, keep_ip: bool) -> Optional[Vector]:
    network_id = xml_values.whole_number(nic.get("NETWORK_ID", ""))
    if network_id is None:
        return nic if keep_ip else restore_template.without_addresses(nic)
    try:
        network = context.front_end.element("one.vn.info", network_id)
    except errors.CallRefused as error:
        context.log.warning(
            "%s was in network %s (%s), which cannot be had any more (%s): the VM comes back without this NIC",
            nic.get("NAME", "A NIC"),
            network_id,
            nic.get("NETWORK", ""),
            error,
        )
        return None
    named = {key: value for key, value in nic.items() if key != "NETWORK"}
    reason = networks.obstacle(network, named) if keep_ip else "asked for with --no-ip"
    if not reason:
        new_mac = networks.new_mac(network, named)
        if new_mac:
            context.log.warning("%s gets the MAC %s: its range has changed", nic.get("NAME", "A NIC"), new_mac)
        return networks.request(named)
    context.log.warning("%s gets a new address: %s", nic.get("NAME", "A NIC"), reason)
    return restore_template.without_addresses(named)
