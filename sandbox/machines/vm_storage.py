# SPDX-License-Identifier: Apache-2.0
"""The files and the guest of a VM in STATE/datastores/0/<vm>."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.objects import vm_disks
from sandbox.world import disks, guest


@dataclass(frozen=True)
class Plan:
    """What is needed of one disk outside the lock."""

    number: int
    path: Path
    format: str
    source: str
    size_mb: int
    kind: str
    writable: bool


def directory(front: Front, vm_id: int) -> Path:
    return front.settings.state / "datastores" / "0" / str(vm_id)


def disk_path(front: Front, vm_id: int, disk_id: object) -> Path:
    return directory(front, vm_id) / f"disk.{disk_id}"


def plans(front: Front, vm: Record) -> list[Plan]:
    """What the VM's disks are, to work on them without the lock."""
    return [plan(front, vm, disk) for disk in vm_disks.of(vm)]


def plan(front: Front, vm: Record, disk: dict[str, str]) -> Plan:
    kind = "clone"
    if vm_disks.is_volatile(disk):
        kind = "volatile"
    elif vm_disks.is_cdrom(disk) or disk.get("CLONE") == "NO":
        kind = "link"
    writable = not vm_disks.is_cdrom(disk) and disk.get("READONLY", "NO").upper() != "YES"
    writable = writable and disk.get("TYPE", "").upper() != "SWAP"
    number = int(disk["DISK_ID"])
    format = disk.get("FORMAT") or disk.get("DRIVER") or "raw"
    return Plan(number, disk_path(front, vm.id, number), format if format in disks.FORMATS else "raw",
                disk.get("SOURCE", ""), int(disk.get("SIZE") or 0), kind, writable)


def provide(plan: Plan) -> None:
    """Brings one disk to the VM's directory (afresh, whatever was there). Raises DiskError or OSError."""
    plan.path.parent.mkdir(parents=True, exist_ok=True)
    if plan.kind == "volatile":
        disks.create(plan.path, plan.size_mb, plan.format)
    elif plan.kind == "link":
        disks.link(Path(plan.source), plan.path)
    else:
        disks.deploy(Path(plan.source), plan.path, plan.format)


def remove(front: Front, vm_id: int) -> None:
    shutil.rmtree(directory(front, vm_id), ignore_errors=True)


def guest_disks(work: list[Plan]) -> list[guest.GuestDisk]:
    return [guest.GuestDisk(plan.path, plan.format) for plan in work if plan.writable and plan.path.exists()]


def has_guest(vm: Record) -> bool:
    """A VM with GUEST="none" in its user template runs none."""
    return not any(name == "GUEST" and str(value).lower() == "none" for name, value in vm["user_template"])


def start_guest(front: Front, vm_id: int, work: list[Plan], wanted: bool) -> None:
    """Boots the guest, or lets a paused one go on. Raises GuestError."""
    place = directory(front, vm_id)
    if not wanted or not guest_disks(work):
        return
    if guest.is_running(place):
        guest.resume(place, guest_disks(work))
    else:
        guest.start(place, guest_disks(work))


def stop_guest(front: Front, vm_id: int, hard: bool = False) -> None:
    """Shuts the guest down; one that is gone already is left alone."""
    place = directory(front, vm_id)
    if not guest.is_running(place):
        return
    if hard:
        guest.kill(place)
        return
    try:
        guest.stop(place)
    except guest.GuestError:
        guest.kill(place)


def pause_guest(front: Front, vm_id: int) -> None:
    if guest.is_running(directory(front, vm_id)):
        guest.pause(directory(front, vm_id))
