# SPDX-License-Identifier: Apache-2.0
"""one.vm.disksaveas: a disk (or one of its snapshots) becomes a new image, in every state that allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from sandbox.core import errors
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.machines import image_files, vm_back, vm_run, vm_states, vm_storage
from sandbox.machines.vm_back import LIVE, STATES
from sandbox.machines.vm_states import ACTIVE
from sandbox.objects import datastores, image_calls, images, vm_disks
from sandbox.world import disks


def start(front: Front, caller: Caller, vm: Record, disk_id: int, name: str, kind: str, snapshot: int) -> Record:
    """The new image (LOCKED) with the copy under way. Raises oned's refusals with the VM as it was."""
    shown = vm.id if front.settings.modern else -1
    if vm["state"] not in STATES and not vm_states.is_running(vm):
        raise errors.internal("VM has to be RUNNING, POWEROFF or SUSPENDED to save disks.", shown)
    disk = vm_disks.by_id(vm, disk_id)
    problem = _disk_problem(vm, disk, snapshot)
    if problem or disk is None:
        raise errors.internal(f"Cannot use DISK. {problem}", shown)
    original = front.find("image", int(disk["IMAGE_ID"]))
    if original is None:
        raise errors.no_exists("image", int(disk["IMAGE_ID"]))
    image = _image(front, caller, vm, disk, original, name, kind)
    lcm_name = STATES.get(vm["state"], LIVE)
    vm["saving"] = image.id
    vm_states.enter(front, vm, lcm_name)
    plan = vm_storage.plan(front, vm, disk)
    vm_run.background(front, vm, lambda: _copy(front, vm.id, image.id, plan, snapshot, lcm_name))
    return image


def _disk_problem(vm: Record, disk: Optional[vm_disks.Disk], snapshot: int) -> str:
    if disk is None:
        return "DISK does not exist."
    if not disk.get("IMAGE_ID", "").isdigit():
        return "DISK does not have a valid IMAGE_ID."
    known = [item["ID"] for item in vm["snapshots"].get(disk["DISK_ID"], {"list": []})["list"]]
    if snapshot != -1 and str(snapshot) not in known:
        return "Snapshot does not exist."
    return ""


def _image(front: Front, caller: Caller, vm: Record, disk: vm_disks.Disk, original: Record, name: str,
           kind: str) -> Record:
    datastore = front.get("datastore", original["datastore_id"])
    size = int(disk["SIZE"])
    available = datastores.available_mb(front, datastore)
    if available is not None and size > available:
        raise errors.action("Not enough space in datastore", vm.id)
    template = Template([("NAME", name), ("SIZE", str(size)), ("SAVED_IMAGE_ID", str(original.id)),
                         ("SAVED_DISK_ID", disk["DISK_ID"]), ("SAVED_VM_ID", str(vm.id)),
                         ("TYPE", kind or images.type_name(original["type"]))])
    for key in ("TARGET", "DEV_PREFIX"):
        if original.template.get(key):
            template.set(key, original.template.get(key))
    try:
        record = image_calls.make(front, caller, template, datastore)
    except errors.CallError as error:
        raise errors.CallError(error.code, error.message, vm.id if front.settings.modern else -1) from None
    record.fields.update(saving=True, format="save_as")
    return record


def _copy(front: Front, vm_id: int, image_id: int, plan: vm_storage.Plan, snapshot: int, lcm_name: str) -> None:
    with front.transaction():
        vm, image = front.find("vm", vm_id), front.find("image", image_id)
        if vm is None or image is None:
            return
        destination = image_files.new_source(front, image)
        mad = vm_states.host_mad(vm)
        image["source"] = str(destination)
        front.save(image)
    front.wait("saveas", mad)
    problem: Optional[str] = "Failed on request" if front.faults.fails("saveas", vm_id) else None
    if problem is None and lcm_name == LIVE and mad != "kvm":
        problem = f"Error executing image transfer script: cpds: Live operation not supported on {mad}"
    if problem is None:
        problem = _write(plan, destination, snapshot, lcm_name == LIVE)
    _end(front, vm_id, image_id, lcm_name, problem, plan.format)


def _write(plan: vm_storage.Plan, destination: Path, snapshot: int, live: bool) -> Optional[str]:
    try:
        if snapshot != -1:
            disks.save_snapshot_as(plan.path, snapshot, destination, plan.format)
        elif live:
            disks.live_save_as(plan.path, destination, plan.format)
        else:
            disks.save_as(plan.path, destination, plan.format)
        return None
    except (disks.DiskError, OSError) as error:
        return f"Error executing image transfer script: {error}"


def _end(front: Front, vm_id: int, image_id: int, lcm_name: str, problem: Optional[str], format: str) -> None:
    with front.transaction():
        vm = front.find("vm", vm_id)
        if vm is not None and vm["state"] == ACTIVE and vm.get("saving") == image_id and (
                vm["lcm_state"] == vm_states.LCM[lcm_name]):
            if problem:
                front.log_vm(vm.id, problem, "E", "TrM")
                vm_run.set_error(vm, problem)
            vm_back.go_back(front, vm, lcm_name)
        image = front.find("image", image_id)
        if image is None or image["state"] != images.LOCKED:
            return
        image["saving"] = False
        if problem:
            images.set_state(front, image, images.ERROR)
            return
        image["format"] = format
        images.unlock(front, image)
