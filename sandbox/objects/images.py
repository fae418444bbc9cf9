# SPDX-License-Identifier: Apache-2.0
"""Images: their states and what other objects (VMs, clones, apps) do to them."""

from __future__ import annotations

from typing import Any, Optional

from sandbox.core.front import Front
from sandbox.core.record import Record, add_id, now, remove_id
from sandbox.core.template import Template

(INIT, READY, USED, DISABLED, LOCKED, ERROR, CLONE, DELETE, USED_PERS, LOCKED_USED, LOCKED_USED_PERS) = range(11)
OS, CDROM, DATABLOCK, KERNEL, RAMDISK, CONTEXT, BACKUP = range(7)
TYPES = {"OS": OS, "CDROM": CDROM, "DATABLOCK": DATABLOCK, "KERNEL": KERNEL, "RAMDISK": RAMDISK, "CONTEXT": CONTEXT}
ALL_LOCKED = (LOCKED, LOCKED_USED, LOCKED_USED_PERS)
IN_USE = (USED, CLONE, USED_PERS, LOCKED_USED, LOCKED_USED_PERS)
FILES = (KERNEL, RAMDISK, CONTEXT)
STATE_NAMES = ("INIT", "READY", "USED", "DISABLED", "LOCKED", "ERROR", "CLONE", "DELETE", "USED_PERS", "LOCKED_USED",
               "LOCKED_USED_PERS")


def type_name(number: int) -> str:
    return next(name for name, value in TYPES.items() if value == number)


def empty_snapshots(allow_orphans: str = "NO") -> dict[str, Any]:
    return {"allow_orphans": allow_orphans, "next": 0, "list": []}


def new_fields(template: Template, datastore: Record, kind: int) -> dict[str, Any]:
    """The fields of an image just allocated (LOCKED until its file is there); takes its attributes off the template."""
    persistent = template.take("PERSISTENT").upper() == "YES" and kind not in FILES
    size = template.take("SIZE")
    moment = now()
    return {"type": kind, "disk_type": 0, "persistent": int(persistent), "regtime": moment, "modtime": moment,
            "source": template.take("SOURCE"), "path": template.take("PATH"), "format": "", "fs": template.take("FS"),
            "size": int(size) if size.isdigit() else 0, "state": LOCKED, "prev_state": INIT, "running_vms": 0,
            "cloning_ops": 0, "cloning_id": -1, "target_snapshot": -1, "datastore_id": datastore.id,
            "datastore": datastore.name, "vms": [], "clones": [], "app_clones": [],
            "snapshots": empty_snapshots(), "saving": False}


def set_state(front: Front, image: Record, state: int) -> None:
    image["state"] = state
    if state == ERROR:
        image["saving"] = False
    front.save(image)


def unlock(front: Front, image: Record) -> None:
    """LOCKED and its variants become READY, USED, USED_PERS (oned's set_state_unlock)."""
    following = {LOCKED: READY, LOCKED_USED: USED, LOCKED_USED_PERS: USED_PERS, ERROR: READY}
    set_state(front, image, following.get(image["state"], image["state"]))


def acquire(front: Front, image: Record, vm_id: int, attach: bool = False) -> Optional[str]:
    """Lets a VM use the image; oned's complaint when it cannot."""
    if image["type"] in FILES:
        return f"Image {image.id} ({image.name}) of type {type_name(image['type'])} cannot be used as DISK."
    persistent = bool(image["persistent"])
    following = {READY: USED_PERS if persistent else USED, LOCKED: LOCKED_USED_PERS if persistent else LOCKED_USED,
                 USED: USED, LOCKED_USED: LOCKED_USED}
    state = image["state"]
    if state not in following or (state == LOCKED and attach):
        return _refusal(image)
    add_id(image["vms"], vm_id)
    image["running_vms"] = len(image["vms"])
    set_state(front, image, following[state])
    return None


def _refusal(image: Record) -> str:
    state = image["state"]
    reason = f"it is in state: {STATE_NAMES[state]}"
    if state in (LOCKED, LOCKED_USED):
        reason = "it is locked"
    if state in (USED_PERS, LOCKED_USED_PERS):
        reason = "it is persistent and already in use"
    return f"Cannot acquire image {image.id}, {reason}"


def release(front: Front, image_id: int, vm_id: int, failed: bool = False) -> None:
    """The VM is gone (or let the disk go): the image is READY again when nobody else uses it."""
    image = front.find("image", image_id)
    if image is None:
        return
    remove_id(image["vms"], vm_id)
    image["running_vms"] = len(image["vms"])
    state = image["state"]
    if state == USED_PERS:
        set_state(front, image, ERROR if failed else READY)
    elif state == LOCKED_USED_PERS:
        set_state(front, image, ERROR if failed else LOCKED)
    elif state == USED and not image["vms"]:
        set_state(front, image, USED if image["cloning_ops"] else READY)
    elif state == LOCKED_USED and not image["vms"]:
        set_state(front, image, LOCKED)
    else:
        front.save(image)


def clone_problem(image: Record) -> Optional[str]:
    if image["state"] not in (CLONE, READY, USED):
        return "Cannot clone image in current state"
    return None


def start_clone(front: Front, image: Record, app_id: int = -1, clone_id: int = -1) -> None:
    """Marks an image as being copied by an app or another image."""
    if app_id >= 0:
        add_id(image["app_clones"], app_id)
    if clone_id >= 0:
        add_id(image["clones"], clone_id)
    image["cloning_ops"] = len(image["app_clones"]) + len(image["clones"])
    if image["state"] == READY:
        set_state(front, image, CLONE if image["persistent"] else USED)
    front.save(image)


def release_app(front: Front, image_id: int, app_id: int) -> None:
    image = front.find("image", image_id)
    if image is not None:
        remove_id(image["app_clones"], app_id)
        _end_clone(front, image)


def release_clone(front: Front, image_id: int, clone_id: int) -> None:
    image = front.find("image", image_id)
    if image is not None:
        remove_id(image["clones"], clone_id)
        _end_clone(front, image)


def _end_clone(front: Front, image: Record) -> None:
    image["cloning_ops"] = len(image["app_clones"]) + len(image["clones"])
    if image["state"] in (USED, CLONE) and not image["cloning_ops"]:
        set_state(front, image, USED if image["vms"] else READY)
    front.save(image)


def deletion_problem(image: Record) -> Optional[str]:
    """Why oned would not delete the image now, or None."""
    state = image["state"]
    if state in (USED, USED_PERS, LOCKED_USED, LOCKED_USED_PERS) or image["running_vms"] and state == READY:
        return f"There are {image['running_vms']} VMs using it."
    if state == CLONE:
        return f"There are {image['cloning_ops']} active clone operations."
    return None
