# SPDX-License-Identifier: Apache-2.0
"""one.vm.resize and one.vm.diskresize: what oned allows in which state, and the grown disk behind it."""

from __future__ import annotations

from sandbox.core import errors
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.machines import vm_run, vm_states, vm_storage
from sandbox.machines.vm_states import ACTIVE, CLONING, CLONING_FAILURE, HOLD, INIT, PENDING, POWEROFF, UNDEPLOYED
from sandbox.objects import vm_disks
from sandbox.world import disks

CAPACITY = ("CPU", "VCPU", "MEMORY")
AT_REST = (POWEROFF, INIT, PENDING, HOLD, UNDEPLOYED, CLONING, CLONING_FAILURE)
#: Drivers with LIVE_RESIZE in oned.conf.
LIVE_RESIZE = ("kvm",)
DISK_STATES = {ACTIVE: "DISK_RESIZE", POWEROFF: "DISK_RESIZE_POWEROFF", UNDEPLOYED: "DISK_RESIZE_UNDEPLOYED"}


def capacity(front: Front, caller: Caller, vm: Record, wanted: Template) -> None:
    """CPU, VCPU and MEMORY: at once when at rest, through HOTPLUG_RESIZE when RUNNING. Raises oned's refusals."""
    running = vm_states.is_running(vm)
    if not running and vm["state"] not in AT_REST:
        raise errors.action(f"Cannot resize a VM in state {vm_states.name(vm)}")
    if running and vm_states.host_mad(vm) not in LIVE_RESIZE:
        raise errors.action(f"Hotplug resize not supported by driver {vm_states.host_mad(vm)}")
    for name in CAPACITY:
        if wanted.get(name) not in ("", "0"):
            vm.template.set(name, wanted.get(name))
    if running:
        vm_states.enter(front, vm, "HOTPLUG_RESIZE")
        vm_run.background(front, vm, lambda: _hotplugged(front, vm.id))
    if front.settings.modern and vm["history"]:
        vm_states.reopen_history(front, vm, "resize", caller)
    front.save(vm)


def _hotplugged(front: Front, vm_id: int) -> None:
    front.wait("hotplug")
    vm_run.change(front, vm_id, "HOTPLUG_RESIZE", lambda vm: vm_states.enter(front, vm, "RUNNING"))


def disk(front: Front, caller: Caller, vm: Record, disk_id: int, size: str) -> None:
    """Grow a disk to `size` MB. Raises oned's refusals."""
    if not size.strip().lstrip("-").isdigit():
        raise errors.action("Disk SIZE is not a valid integer")
    found = vm_disks.by_id(vm, disk_id)
    if found is None:
        raise errors.action("VM disk does not exist")
    if int(size) <= int(found.get("SIZE") or 0):
        raise errors.action("New disk size has to be greater than current one")
    if vm["snapshots"].get(str(disk_id), {"list": []})["list"]:
        raise errors.action("Cannot resize a disk with snapshots")
    if vm["state"] not in DISK_STATES or (vm["state"] == ACTIVE and not vm_states.is_running(vm)):
        raise errors.action(f"Could not resize disk for VM {vm.id}, wrong state {vm_states.name(vm)}.")
    before, lcm_name = vm["state"], DISK_STATES[vm["state"]]
    if before != UNDEPLOYED or not front.settings.modern:
        vm_states.reopen_history(front, vm, "disk-resize", caller)
    vm_states.enter(front, vm, lcm_name)
    plan = vm_storage.plan(front, vm, found)
    vm_run.background(front, vm, lambda: _grow(front, vm.id, plan, int(size), before, lcm_name))


def _grow(front: Front, vm_id: int, plan: vm_storage.Plan, size_mb: int, before: int, lcm_name: str) -> None:
    front.wait("disk_resize")
    problem = ""
    try:
        disks.resize(plan.path, size_mb, plan.format)
    except (disks.DiskError, OSError) as error:
        problem = f"Error resizing disk: {error}"

    def end(vm: Record) -> None:
        found = vm_disks.by_id(vm, plan.number)
        if problem:
            vm_run.set_error(vm, problem)
        elif found is not None:
            _grown(front, found, size_mb, plan.kind == "link")
        _back(front, vm, before)

    vm_run.change(front, vm_id, lcm_name, end)


def _grown(front: Front, found: vm_disks.Disk, size_mb: int, persistent: bool) -> None:
    found["SIZE"] = str(size_mb)
    image = front.find("image", int(found["IMAGE_ID"])) if found.get("IMAGE_ID") else None
    if persistent and image is not None:
        image["size"] = size_mb
        front.save(image)


def _back(front: Front, vm: Record, before: int) -> None:
    if before == ACTIVE:
        vm_states.enter(front, vm, "RUNNING")
    else:
        vm_states.set_state(front, vm, before)
