# SPDX-License-Identifier: Apache-2.0
"""VM templates: allocate, clone, instantiate, delete (with their images)."""

from __future__ import annotations

import logging

from sandbox.core import errors, names, rights
from sandbox.core.caller import Caller
from sandbox.core.errors import CallError
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record, now
from sandbox.core.template import Template
from sandbox.objects import generic, image_calls, images, infrastructure, restricted, vm_context, vms


@method("one.template.allocate", "s")
def allocate(front: Front, caller: Caller, text: str) -> int:
    template = generic.parsed(text)
    restricted.refuse("template", caller, template, "VM Template")
    rights.require_create(caller, "template")
    return _make(front, caller, template.take("NAME"), template).id


def _make(front: Front, caller: Caller, name: str, template: Template) -> Record:
    problem = front.check_name("template", name, caller.uid)
    if problem is None and not template.storable():
        problem = "Error transforming the Template to XML."
    if problem:
        raise names.allocation_error("template", problem, front.settings.modern)
    vm_context.encrypt(front, template)
    return infrastructure.owned(front, caller, "template", name, template, {"regtime": now()})


def _after_update(front: Front, caller: Caller, record: Record, template: Template) -> None:
    vm_context.encrypt(front, template)


generic.AFTER_UPDATE["template"] = _after_update


@method("one.template.info", "i|bb")
def info(front: Front, caller: Caller, template_id: int, extended: bool = False, decrypt: bool = False) -> str:
    from sandbox.objects import render

    record = front.get("template", template_id)
    rights.require(caller, rights.USE, record, ignore_lock=True)
    return render.in_call(front, record)


@method("one.template.clone", "is|b")
def clone(front: Front, caller: Caller, template_id: int, name: str, recursive: bool = False) -> int:
    source = front.get("template", template_id)
    rights.require(caller, rights.USE, source)
    return _clone(front, caller, source, name, recursive, False).id


def _clone(front: Front, caller: Caller, source: Record, name: str, recursive: bool, persistent: bool) -> Record:
    template = source.template.copy()
    for key in ("TEMPLATE_ID", "TEMPLATE_NAME", "NAME"):
        template.remove(key)
    record = _make(front, caller, name, template)
    if not recursive:
        return record
    made: list[Record] = []
    try:
        for number, disk in enumerate(template.vectors("DISK")):
            made += _clone_disk(front, caller, disk, f"{name}-disk-{number}", persistent)
    except CallError as error:
        for image in made:
            image_calls.remove(front, image)
        front.drop(record)
        raise errors.CallError(error.code, f"Failed to clone images: {error.message}") from None
    return record


def _clone_disk(front: Front, caller: Caller, disk: dict[str, str], name: str, persistent: bool) -> list[Record]:
    image = front.find("image", int(disk["IMAGE_ID"])) if disk.get("IMAGE_ID", "").isdigit() else None
    if image is None or image["type"] == images.CDROM:
        return []
    rights.require(caller, rights.USE, image)
    copy = image_calls.clone_image(front, caller, image, name, persistent=persistent)
    disk["IMAGE_ID"] = str(copy.id)
    return [copy]


@method("one.template.instantiate", "i|sbsb")
def instantiate(front: Front, caller: Caller, template_id: int, name: str = "", hold: bool = False, extra: str = "",
                persistent: bool = False) -> int:
    source = front.get("template", template_id)
    rights.require(caller, rights.USE, source)
    if persistent:
        source = _clone(front, caller, source, name or f"{source.name}-copy", True, True)
    template = source.template.copy()
    if extra and not persistent:
        given = generic.parsed(extra)
        restricted.refuse("vm", caller, given, "User Template")
        template.merge(given)
    for key in ("NAME", "TEMPLATE_NAME", "TEMPLATE_ID"):
        template.remove(key)
    template.set("TEMPLATE_NAME", source.name)
    template.set("TEMPLATE_ID", str(source.id))
    if name:
        template.set("NAME", name)
    vms.authorize(front, caller, template)
    return vms.make(front, caller, template, hold, lambda text: errors.CallError(
        errors.ALLOCATE, f"Error allocating a new virtual machine template. {text}")).id


@method("one.template.delete", "i|b")
def delete(front: Front, caller: Caller, template_id: int, recursive: bool = False) -> int:
    """With `recursive` the images go too; those that cannot be deleted only reach the log, as with oned."""
    record = front.get("template", template_id)
    rights.require(caller, rights.MANAGE, record)
    if recursive:
        for disk in record.template.vectors("DISK"):
            _delete_image(front, caller, disk)
    front.drop(record)
    return template_id


def _delete_image(front: Front, caller: Caller, disk: dict[str, str]) -> None:
    image = front.find("image", int(disk["IMAGE_ID"])) if disk.get("IMAGE_ID", "").isdigit() else None
    if image is None:
        return
    problem = images.deletion_problem(image)
    if problem or not rights.allowed(caller, rights.MANAGE, image) or rights.locked(image, rights.MANAGE):
        logging.warning("[ReM] Cannot delete image. %s", problem)
        return
    image_calls.remove(front, image)
