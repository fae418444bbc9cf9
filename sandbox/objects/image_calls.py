# SPDX-License-Identifier: Apache-2.0
"""The calls on images: allocate (also from a marketplace app), clone, delete, enable, persistent, chtype."""

from __future__ import annotations

from typing import Optional

from sandbox.core import errors, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record, add_id, now, remove_id
from sandbox.core.template import Template
from sandbox.machines import image_files, vm_back
from sandbox.objects import datastores, generic, images, infrastructure, quotas, restricted
from sandbox.world import datastore_drivers
from sandbox.world.errors import DriverFailed


@method("one.image.allocate", "si|b")
def allocate(front: Front, caller: Caller, text: str, datastore_id: int, skip_capacity: bool = False) -> int:
    template = generic.parsed(text)
    datastore = front.get("datastore", datastore_id)
    _check_datastore(front, datastore)
    app = _app_of(front, caller, template)
    size_mb = _size(front, template, app)
    available = datastores.available_mb(front, datastore)
    if available is not None and size_mb > available and not (skip_capacity and caller.is_admin):
        raise errors.action("Not enough space in datastore")
    restricted.refuse("image", caller, template, more=front.faults.restricted)
    rights.require_create(caller, "image")
    rights.require(caller, rights.USE, datastore)
    if app is not None:
        _from_app(template, app)
    template.set("SIZE", str(size_mb))
    record = make(front, caller, template, datastore)
    market = front.find("market", app["marketplace_id"]) if app is not None else None
    image_files.register(front, record, market)
    return record.id


def _check_datastore(front: Front, datastore: Record) -> None:
    allowed = (datastores.IMAGE, datastores.FILE)
    if datastore["type"] in allowed or (not front.settings.modern and datastore["type"] == datastores.BACKUP):
        return
    text = ("New images can only be allocated in a files or image datastore." if front.settings.modern
            else "New images cannot be allocated in a system datastore.")
    raise errors.CallError(errors.ALLOCATE, f"Error allocating a new image. {text}")


def _app_of(front: Front, caller: Caller, template: Template) -> Optional[Record]:
    if not template.has("FROM_APP"):
        return None
    app = front.find("marketapp", template.number("FROM_APP"))
    if app is None:
        raise errors.internal("Cannot determine image SIZE.")
    if front.find("market", app["marketplace_id"]) is None:
        raise errors.internal("Could not get the appliance's market.")
    return app


def _from_app(template: Template, app: Record) -> None:
    template.set("FROM_APP_NAME", app.name)
    template.set("PATH", app["source"])
    template.set("FORMAT", app["format"])
    template.set("FROM_APP_MD5", app["md5"])


def _size(front: Front, template: Template, app: Optional[Record]) -> int:
    if app is not None:
        return int(app["size"])
    path, kind = template.get("PATH"), template.get("TYPE", "OS").upper()
    if path and not template.get("SOURCE"):
        try:
            return datastore_drivers.size_of_source(path)
        except DriverFailed as error:
            raise errors.internal(f"Cannot parse image SIZE: {error.message}") from None
    if kind in ("OS", "DATABLOCK") or template.get("SOURCE"):
        if template.get("SIZE").isdigit():
            return int(template.get("SIZE"))
        raise errors.internal("Cannot parse image SIZE: Wrong number or missing SIZE attribute.")
    raise errors.internal(f"Cannot parse image SIZE: Either PATH or SOURCE are required for {kind}")


def make(front: Front, caller: Caller, template: Template, datastore: Record) -> Record:
    """The image record in its datastore; raises the ALLOCATE refusals (names, types, PATH and SOURCE)."""
    name = template.take("NAME")
    problem = front.check_name("image", name, caller.uid) or _problem(front, template, datastore)
    if problem:
        raise errors.CallError(errors.ALLOCATE, f"Error allocating a new image. {problem}")
    quotas.check_image(front, caller, datastore.id, template.number("SIZE", 0))
    kind = images.TYPES[template.take("TYPE", "OS").upper() or "OS"]
    _set_prefix(front, template, kind)
    template.remove("DRIVER")
    made_here = not template.get("PATH")
    format = template.take("FORMAT")
    record = infrastructure.owned(front, caller, "image", name, Template(), {})
    record.fields = images.new_fields(template, datastore, kind)
    if made_here and kind in (images.OS, images.DATABLOCK):
        record["format"] = datastores.driver_of(datastore) or format or "raw"
    template.remove("TM_MAD")
    record.template = template
    add_id(datastore["images"], record.id)
    front.save(datastore)
    return record


def _problem(front: Front, template: Template, datastore: Record) -> Optional[str]:
    kind = template.get("TYPE", "OS").upper() or "OS"
    if kind not in images.TYPES:
        return f"Unknown image type {kind}."
    number = images.TYPES[kind]
    if (number in images.FILES) != (datastore["type"] == datastores.FILE):
        what = "FILE" if number in images.FILES else "IMAGE"
        return f"Images of type {kind} can only be created in {what}_DS datastores."
    if template.get("PATH") and template.get("SOURCE"):
        return "Template malformed, PATH and SOURCE are mutually exclusive."
    return None if template.storable() else "Error transforming the Image to XML."


def _set_prefix(front: Front, template: Template, kind: int) -> None:
    if kind in images.FILES:
        template.remove("DEV_PREFIX")
    elif not template.get("DEV_PREFIX"):
        if kind == images.CDROM and front.settings.modern:
            return
        template.set("DEV_PREFIX", "hd" if kind == images.CDROM else "sd")


@method("one.image.clone", "is|i")
def clone(front: Front, caller: Caller, image_id: int, name: str, datastore_id: int = -1) -> int:
    source = front.get("image", image_id)
    rights.require(caller, rights.USE, source)
    return clone_image(front, caller, source, name, datastore_id).id


def clone_image(front: Front, caller: Caller, source: Record, name: str, datastore_id: int = -1,
                persistent: bool = False) -> Record:
    """A copy of an image in the making; raises oned's refusals."""
    if source["type"] in images.FILES:
        raise errors.action("KERNEL, RAMDISK and CONTEXT cannot be cloned.")
    if source["snapshots"]["list"]:
        raise errors.action("Cannot clone images with snapshots")
    datastore = front.get("datastore", source["datastore_id"] if datastore_id == -1 else datastore_id)
    if datastore["type"] != datastores.IMAGE:
        raise errors.action("Clone only supported for IMAGE_DS Datastores")
    problem = images.clone_problem(source)
    if problem:
        raise errors.CallError(errors.ALLOCATE, f"Error allocating a new image. {problem}")
    template = source.template.copy()
    template.remove("ERROR")
    values = {"NAME": name, "TYPE": images.type_name(source["type"]), "SIZE": str(source["size"])}
    for key, value in values.items():
        template.set(key, value)
    if source["persistent"] or persistent:
        template.set("PERSISTENT", "YES")
    template.set("PATH", source["source"])
    record = make(front, caller, template, datastore)
    record["cloning_id"] = source.id
    images.start_clone(front, source, clone_id=record.id)
    image_files.copy(front, record, source)
    return record


@method("one.image.delete", "i|b")
def delete(front: Front, caller: Caller, image_id: int, force: bool = False) -> int:
    record = front.get("image", image_id)
    locked = front.settings.modern and record["state"] in images.ALL_LOCKED
    if locked and not force:
        raise errors.internal("Image locked, use --force flag to remove the image. "
                              "Force delete may leave some files on Datastore", image_id)
    rights.require(caller, rights.ADMIN if locked else rights.MANAGE, record)
    problem = images.deletion_problem(record)
    if problem:
        raise errors.action(f"Cannot delete image. {problem}")
    remove(front, record)
    return image_id


def remove(front: Front, record: Record) -> None:
    datastore = front.find("datastore", record["datastore_id"])
    if datastore is not None:
        remove_id(datastore["images"], record.id)
        front.save(datastore)
    if record["cloning_id"] != -1:
        images.release_clone(front, record["cloning_id"], record.id)
    if record["saving"] and record["state"] == images.LOCKED:
        vm_back.from_saveas(front, record.template.number("SAVED_VM_ID"), record.id)
    if not record["source"]:
        front.drop(record)
        return
    images.set_state(front, record, images.DELETE)
    image_files.delete(front, record)


@method("one.image.enable", "ib")
def enable(front: Front, caller: Caller, image_id: int, on: bool) -> int:
    record = front.get("image", image_id)
    rights.require(caller, rights.MANAGE, record)
    state = record["state"]
    if state not in (images.READY, images.ERROR, images.DISABLED):
        verb = "enable" if on else "disable"
        raise errors.internal(f"Could not {verb} image: Image cannot be in state {images.STATE_NAMES[state]}.")
    if on and state != images.READY:
        images.set_state(front, record, images.READY)
    if not on:
        images.set_state(front, record, images.DISABLED)
    return image_id


@method("one.image.persistent", "ib")
def persistent(front: Front, caller: Caller, image_id: int, on: bool) -> int:
    record = front.get("image", image_id)
    rights.require(caller, rights.MANAGE, record)
    if record["type"] in images.FILES:
        raise errors.internal("KERNEL, RAMDISK and CONTEXT must be non-persistent")
    if record["snapshots"]["list"] and not on:
        raise errors.internal("Could not make image non-persistent: Image has snapshots.")
    if record["state"] in images.IN_USE:
        word = "persistent" if on else "non-persistent"
        raise errors.internal(f"Could not make image {word}: Image cannot be in state "
                              f"{images.STATE_NAMES[record['state']]}.")
    record["persistent"] = int(on)
    record["modtime"] = now()
    front.save(record)
    return image_id


@method("one.image.chtype", "is")
def change_type(front: Front, caller: Caller, image_id: int, kind: str) -> int:
    record = front.get("image", image_id)
    rights.require(caller, rights.MANAGE, record)
    number = images.TYPES.get(kind.upper())
    if number is None:
        raise errors.internal(f"Unknown type {kind}")
    disks: tuple[int, ...] = (images.OS, images.DATABLOCK, images.CDROM)
    if (record["type"] in disks) != (number in disks):
        raise errors.action("Cannot change image type to an incompatible type for the current datastore.")
    record["type"] = number
    front.save(record)
    return image_id
