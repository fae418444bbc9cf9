# SPDX-License-Identifier: Apache-2.0
"""The DISKs of a VM: images acquired, attributes filled in from image and datastore, device names given."""

from __future__ import annotations

from typing import Optional

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.objects import images

Disk = dict[str, str]
INHERITED = ("ALLOW_ORPHANS", "CLONE_TARGET", "LN_TARGET", "DISK_TYPE", "PERSISTENT_SNAPSHOTS")


class DiskProblem(Exception):
    """Why the VM cannot have its disks, in oned's words."""


def acquire_all(front: Front, vm: Record, given: list[Disk], context: Optional[Disk]) -> list[Disk]:
    """The finished DISK vectors; images are released again when one of them cannot be had (DiskProblem)."""
    disks: list[Disk] = []
    kinds: list[int] = []
    try:
        for number, wanted in enumerate(given):
            disk, kind = acquire(front, vm, dict(wanted), number)
            disks.append(disk)
            kinds.append(kind)
        _give_targets(front, disks, kinds, context)
    except DiskProblem:
        release_all(front, vm.id, disks)
        raise
    return disks


def release_all(front: Front, vm_id: int, disks: list[Disk], failed: bool = False) -> None:
    for disk in disks:
        if disk.get("IMAGE_ID", "").isdigit():
            images.release(front, int(disk["IMAGE_ID"]), vm_id, failed)


def acquire(front: Front, vm: Record, disk: Disk, number: int, attach: bool = False) -> tuple[Disk, int]:
    """One disk: its image taken for the VM, or a volatile definition checked. Raises DiskProblem."""
    prefix = "" if attach else f"DISK {number}: "
    if "IMAGE_ID" not in disk and "IMAGE" not in disk:
        return _volatile(front, disk, number, prefix), images.DATABLOCK
    image = _image_of(front, vm, disk, prefix)
    size = disk.get("SIZE", "")
    problem = _size_problem(image, size) or images.acquire(front, image, vm.id, attach)
    if problem:
        raise DiskProblem(prefix + problem)
    return _filled(front, disk, image, number), int(image["type"])


def _image_of(front: Front, vm: Record, disk: Disk, prefix: str) -> Record:
    if disk.get("IMAGE_ID"):
        image = front.find("image", int(disk["IMAGE_ID"])) if disk["IMAGE_ID"].isdigit() else None
        if image is None:
            raise DiskProblem(f"{prefix}Image with ID: {disk['IMAGE_ID']}  does not exist")
        return image
    owner = vm.uid
    if disk.get("IMAGE_UNAME"):
        user = front.by_name("user", disk["IMAGE_UNAME"])
        owner = user.id if user else -1
    elif disk.get("IMAGE_UID", "").isdigit():
        owner = int(disk["IMAGE_UID"])
    image = front.by_name("image", disk["IMAGE"], owner)
    if image is None:
        raise DiskProblem(f"{prefix}User {owner} does not own an image with name: {disk['IMAGE']}"
                          " . Set IMAGE_UNAME or IMAGE_UID of owner in DISK.")
    return image


def _size_problem(image: Record, size: str) -> Optional[str]:
    if not size.isdigit():
        return None
    if int(size) != image["size"] and image["persistent"]:
        return f"SIZE attribute is not supported for persistent image [{image.id}]."
    if int(size) != image["size"] and image["type"] == images.CDROM:
        return f"SIZE attribute is not supported for CDROM image [{image.id}]."
    if int(size) < image["size"]:
        return f"SIZE of {size}MB is less than the image [{image.id}] size of {image['size']}MB."
    return None


def _volatile(front: Front, disk: Disk, number: int, prefix: str) -> Disk:
    kind = disk.get("TYPE", "").upper()
    if kind not in ("SWAP", "FS"):
        raise DiskProblem(f"{prefix}Unknown disk type {kind}")
    if not disk.get("SIZE", "").isdigit() or int(disk["SIZE"]) <= 0:
        raise DiskProblem(f"{prefix}SIZE attribute must be a positive integer value.")
    disk.setdefault("DEV_PREFIX", "sd")
    disk["DISK_ID"] = str(number)
    return disk


def _filled(front: Front, disk: Disk, image: Record, number: int) -> Disk:
    datastore = front.get("datastore", image["datastore_id"])
    cdrom, persistent = image["type"] == images.CDROM, bool(image["persistent"])
    values = {
        "IMAGE": image.name, "IMAGE_ID": str(image.id), "SOURCE": image["source"], "FORMAT": image["format"],
        "DRIVER": image["format"], "ORIGINAL_SIZE": str(image["size"]), "DATASTORE": datastore.name,
        "IMAGE_STATE": str(image["state"]), "DATASTORE_ID": str(datastore.id), "TM_MAD": datastore["tm_mad"],
        "CLUSTER_ID": ",".join(str(cluster) for cluster in datastore["clusters"]), "DISK_ID": str(number),
        "CLONE": "NO" if persistent or cdrom else "YES", "SAVE": "YES" if persistent else "NO",
        "READONLY": "YES" if cdrom else "NO", "TYPE": "CDROM" if cdrom else "FILE", "DISK_SNAPSHOT_TOTAL_SIZE": "0",
    }
    if persistent:
        values["PERSISTENT"] = "YES"
    for name in INHERITED:
        if datastore.template.has(name):
            values[name] = datastore.template.get(name)
    disk.update(values)
    disk.setdefault("SIZE", str(image["size"]))
    if image.template.has("DEV_PREFIX"):
        disk.setdefault("DEV_PREFIX", image.template.get("DEV_PREFIX"))
    return disk


def _give_targets(front: Front, disks: list[Disk], kinds: list[int], context: Optional[Disk]) -> None:
    used: set[str] = set()
    systems: list[Disk] = []
    cdroms: list[Disk] = []
    others: list[Disk] = []
    for disk, kind in zip(disks, kinds):
        if disk.get("TARGET"):
            if disk["TARGET"] in used:
                raise DiskProblem(f"Two disks have defined the same target {disk['TARGET']}")
            used.add(disk["TARGET"])
        elif kind == images.OS and not systems:
            systems.append(disk)
        else:
            (cdroms if kind == images.CDROM else others).append(disk)
    if context is not None:
        context["DISK_ID"] = str(len(disks))
        if context.get("TARGET"):
            used.add(context["TARGET"])
        else:
            cdroms.append(context)
    for disk in systems + cdroms + others:
        give_target(front, disk, used, "sd" if disk in systems + others else _cdrom_prefix(front))


def _cdrom_prefix(front: Front) -> str:
    return "sd" if front.settings.modern else "hd"


def give_target(front: Front, disk: Disk, used: set[str], default: str) -> None:
    """The first free device name with the disk's prefix."""
    prefix = disk.get("DEV_PREFIX", default)
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [prefix + letter for letter in letters] + [prefix + a + b for a in letters for b in letters]
    disk["TARGET"] = next(name for name in names if name not in used)
    used.add(disk["TARGET"])


def of(vm: Record) -> list[Disk]:
    return vm.template.vectors("DISK")


def by_id(vm: Record, disk_id: int) -> Optional[Disk]:
    return next((disk for disk in of(vm) if disk.get("DISK_ID") == str(disk_id)), None)


def is_volatile(disk: Disk) -> bool:
    return "IMAGE_ID" not in disk


def is_cdrom(disk: Disk) -> bool:
    return disk.get("TYPE") == "CDROM"


def replaced(template: Template, name: str, vectors: list[Disk]) -> None:
    """Puts finished vectors in the place of those given."""
    template.remove(name)
    for vector in vectors:
        template.add(name, vector)
