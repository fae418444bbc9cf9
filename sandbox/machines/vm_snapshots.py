# SPDX-License-Identifier: Apache-2.0
"""Disk snapshots: what each version and driver allows, and the files behind them."""

from __future__ import annotations

from typing import Any, Callable, Optional

from sandbox.core import errors
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.record import Record, now
from sandbox.machines import vm_run, vm_states, vm_storage
from sandbox.machines.vm_states import ACTIVE, POWEROFF, RUNNING, SUSPENDED
from sandbox.objects import vm_disks
from sandbox.world import disks, guest

SUFFIX = {POWEROFF: "_POWEROFF", SUSPENDED: "_SUSPENDED", ACTIVE: ""}
LIVE_64 = ("kvm", "dummy")
NAMES = {"create": "DISK_SNAPSHOT", "revert": "DISK_SNAPSHOT_REVERT", "delete": "DISK_SNAPSHOT_DELETE"}


def _of(vm: Record, disk_id: int) -> dict[str, Any]:
    disk = vm_disks.by_id(vm, disk_id) or {}
    empty: dict[str, Any] = {"allow_orphans": "YES" if _allows_orphans(disk) else "NO", "next": 0, "list": []}
    found: dict[str, Any] = vm["snapshots"].get(str(disk_id)) or empty
    return found


def _allows_orphans(disk: vm_disks.Disk) -> bool:
    """Whether snapshots are full copies that do not depend on each other (FORMAT: only those of raw disks)."""
    mode = disk.get("ALLOW_ORPHANS", "FORMAT")
    return mode == "YES" or (mode == "FORMAT" and disk.get("FORMAT") == "raw")


def _check(vm: Record, disk_id: int, action: str) -> vm_disks.Disk:
    state = vm["state"]
    if not (vm_states.is_running(vm) or state in (POWEROFF, SUSPENDED)) or (action == "revert" and state == ACTIVE):
        what = {"create": "create a new snapshot", "revert": "revert to disk snapshot",
                "delete": "delete disk snapshot"}
        raise errors.action(f"Could not {what[action]} for VM {vm.id}, wrong state {vm_states.name(vm)}.")
    disk = vm_disks.by_id(vm, disk_id)
    if disk is None:
        raise errors.action("VM disk does not exist")
    if vm_disks.is_volatile(disk) or vm_disks.is_cdrom(disk):
        kind = "volatile" if vm_disks.is_volatile(disk) else disk["TYPE"]
        raise errors.action(f"Cannot make snapshots on {kind} disks")
    return disk


def create(front: Front, caller: Caller, vm: Record, disk_id: int, name: str) -> int:
    """Starts a snapshot; returns its id. Raises oned's refusals."""
    disk = _check(vm, disk_id, "create")
    mad = vm_states.host_mad(vm)
    live = vm["state"] == ACTIVE
    if live and not front.settings.modern and mad not in LIVE_64:
        raise errors.action("Cannot perform a live DISKSNAPSHOTCREATE operation")
    number = _of(vm, disk_id)["next"]
    vm["snapshots"][str(disk_id)] = _with_new(_of(vm, disk_id), number, name, disk["SIZE"])
    disk["DISK_SNAPSHOT_TOTAL_SIZE"] = str(int(disk["DISK_SNAPSHOT_TOTAL_SIZE"]) + int(disk["SIZE"]))
    plan = vm_storage.plan(front, vm, disk)
    _run(front, caller, vm, "create", lambda: disks.snapshot(plan.path, number),
         lambda vm: _forget(vm, disk_id, number))
    return int(number)


def _with_new(known: dict[str, Any], number: int, name: str, size: str) -> dict[str, Any]:
    items: list[dict[str, str]] = known["list"]
    parent = next((item for item in items if item.get("ACTIVE") == "YES"), None)
    new = {"ACTIVE": "YES", "DATE": str(now()), "ID": str(number), "PARENT": "-1", "SIZE": size}
    if name:
        new["NAME"] = name
    if parent is not None:
        parent.pop("ACTIVE")
        children = [child for child in parent.get("CHILDREN", "").split(",") if child]
        parent["CHILDREN"] = ",".join([*children, str(number)])
        new["PARENT"] = parent["ID"]
    return {**known, "next": number + 1, "list": [*items, new]}


def revert(front: Front, caller: Caller, vm: Record, disk_id: int, number: int) -> None:
    disk = _check(vm, disk_id, "revert")
    _find(vm, disk_id, number)
    plan = vm_storage.plan(front, vm, disk)

    def work() -> None:
        disks.revert_snapshot(plan.path, number)

    for item in _of(vm, disk_id)["list"]:
        item.pop("ACTIVE", None)
    _find(vm, disk_id, number)["ACTIVE"] = "YES"
    _run(front, caller, vm, "revert", work, lambda vm: None)


def delete(front: Front, caller: Caller, vm: Record, disk_id: int, number: int) -> None:
    disk = _check(vm, disk_id, "delete")
    item = _find(vm, disk_id, number)
    problem = _deletion_problem(front, vm, disk, item)
    if problem:
        raise errors.action(problem)
    plan = vm_storage.plan(front, vm, disk)
    _run(front, caller, vm, "delete", lambda: disks.delete_snapshot(plan.path, number), lambda vm: None,
         lambda vm: _forget(vm, disk_id, number))


def _find(vm: Record, disk_id: int, number: int) -> dict[str, str]:
    for item in _of(vm, disk_id)["list"]:
        if item["ID"] == str(number):
            found: dict[str, str] = item
            return found
    raise errors.action("Snapshot does not exist")


def _children(item: dict[str, str]) -> list[str]:
    return [child for child in item.get("CHILDREN", "").split(",") if child]


def _deletion_problem(front: Front, vm: Record, disk: vm_disks.Disk, item: dict[str, str]) -> Optional[str]:
    active, children = item.get("ACTIVE") == "YES", _children(item)
    if _allows_orphans(disk):
        return None
    if not front.settings.modern:
        if active:
            return "Cannot delete the active snapshot"
        return "Cannot delete snapshot with children" if children else None
    if disk.get("PERSISTENT") == "YES" and item["ID"] == "0":
        return "Cannot delete snapshot 0 for persistent disk images"
    return _linear_problem(vm, disk, item, active, children)


def _linear_problem(vm: Record, disk: vm_disks.Disk, item: dict[str, str], active: bool,
                    children: list[str]) -> Optional[str]:
    """7.x: a snapshot can be merged away when the chain through it is a line."""
    if len(children) > 1:
        return "Cannot delete snapshot with more than one children"
    if not children:
        return None
    if active:
        return "Cannot delete the active snapshot with children"
    disk_id = int(disk["DISK_ID"])
    child = _find(vm, disk_id, int(children[0]))
    grandchildren = _children(child)
    if len(grandchildren) > 1 or (len(grandchildren) == 1 and child.get("ACTIVE") == "YES"):
        return "Cannot delete snapshot if child has children"
    if item["PARENT"] != "-1" and len(_children(_find(vm, disk_id, int(item["PARENT"])))) > 1:
        return "Cannot delete snapshot if parent has more than one child"
    return None


def _forget(vm: Record, disk_id: int, number: int) -> None:
    known = _of(vm, disk_id)
    gone = next((item for item in known["list"] if item["ID"] == str(number)), None)
    if gone is None:
        return
    known["list"].remove(gone)
    for item in known["list"]:
        children = [child for child in _children(item) if child != str(number)]
        if children:
            item["CHILDREN"] = ",".join(children)
        else:
            item.pop("CHILDREN", None)
        if gone.get("ACTIVE") == "YES" and item["ID"] == gone["PARENT"]:
            item["ACTIVE"] = "YES"
    disk = vm_disks.by_id(vm, disk_id)
    if disk is not None:
        total = int(disk["DISK_SNAPSHOT_TOTAL_SIZE"]) - int(gone["SIZE"])
        disk["DISK_SNAPSHOT_TOTAL_SIZE"] = str(max(total, 0))


def _run(front: Front, caller: Caller, vm: Record, action: str, work: Callable[[], None],
         undo: vm_run.Change, done: vm_run.Change = lambda vm: None) -> None:
    before = vm["state"]
    lcm_name = NAMES[action] + SUFFIX[before]
    vm_states.reopen_history(front, vm, f"disk-snapshot-{action}", caller)
    vm_states.enter(front, vm, lcm_name)
    vm_run.background(front, vm, lambda: _do(front, vm.id, before, lcm_name, action, work, undo, done))


def _do(front: Front, vm_id: int, before: int, lcm_name: str, action: str, work: Callable[[], None],
        undo: vm_run.Change, done: vm_run.Change) -> None:
    front.wait("snapshot")
    problem: Optional[str] = "Failed on request" if front.faults.fails("snapshot", vm_id) else None
    try:
        if problem is None:
            work()
    except (disks.DiskError, guest.GuestError, OSError) as error:
        problem = f"Error executing image transfer script: {error}"

    def end(vm: Record) -> None:
        if problem:
            vm_run.set_error(vm, problem)
        (undo if problem else done)(vm)
        _back(front, vm, before)

    vm_run.change(front, vm_id, lcm_name, end)


def _back(front: Front, vm: Record, before: int) -> None:
    if before == ACTIVE:
        vm_states.set_state(front, vm, ACTIVE, RUNNING)
        return
    action = "poweroff" if before == POWEROFF else "suspend"
    vm_states.last_history(vm).update(ACTION=vm_states.ACTIONS[action], RETIME=now())
    vm_states.set_state(front, vm, before)
