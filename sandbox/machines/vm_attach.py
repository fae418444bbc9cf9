# SPDX-License-Identifier: Apache-2.0
"""Disks and NICs attached to and detached from VMs that run or are powered off."""

from __future__ import annotations

from typing import Callable

from sandbox.core import errors
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.machines import vm_run, vm_states, vm_storage
from sandbox.machines.vm_states import ACTIVE, POWEROFF, RUNNING
from sandbox.objects import images, vm_disks, vm_nics
from sandbox.world import disks


def _check(vm: Record, text: str) -> None:
    if not vm_states.is_running(vm) and vm["state"] != POWEROFF:
        raise errors.action(f"{text} VM {vm.id}, wrong state {vm_states.name(vm)}.")


def attach_disk(front: Front, caller: Caller, vm: Record, wanted: dict[str, str]) -> None:
    """The image is the VM's at once; its file follows in HOTPLUG. Raises oned's refusals."""
    _check(vm, "Could not attach a new disk to")
    used = [int(disk["DISK_ID"]) for disk in vm_disks.of(vm)]
    context = vm.template.vector("CONTEXT") or {}
    used += [int(context["DISK_ID"])] if "DISK_ID" in context else []
    number = max(used, default=-1) + 1
    try:
        disk, kind = vm_disks.acquire(front, vm, wanted, number, attach=True)
    except vm_disks.DiskProblem as error:
        raise errors.action(str(error)) from None
    names = {known.get("TARGET", "") for known in [*vm_disks.of(vm), context]}
    if disk.get("TARGET") in names:
        images.release(front, int(disk.get("IMAGE_ID", "-1")), vm.id)
        raise errors.action(f"Target {disk['TARGET']} is already in use.")
    if not disk.get("TARGET"):
        vm_disks.give_target(front, disk, names, "hd" if kind == images.CDROM else "sd")
    vm.template.add("DISK", disk)
    plan = vm_storage.plan(front, vm, disk)
    _hotplug(front, caller, vm, "disk-attach", "HOTPLUG", "HOTPLUG_PROLOG_POWEROFF",
             lambda: vm_storage.provide(plan), lambda vm: _without(front, vm, number))


def detach_disk(front: Front, caller: Caller, vm: Record, number: int) -> None:
    _check(vm, "Could not detach disk from")
    if vm_disks.by_id(vm, number) is None:
        raise errors.action(f"Could not detach disk with DISK_ID {number}, it does not exist.")
    path = vm_storage.disk_path(front, vm.id, number)

    def end(vm: Record) -> None:
        _without(front, vm, number)
        path.unlink(missing_ok=True)

    _hotplug(front, caller, vm, "disk-detach", "HOTPLUG", "HOTPLUG_EPILOG_POWEROFF", lambda: None,
             lambda vm: None, end)


def _without(front: Front, vm: Record, number: int) -> None:
    disk = vm_disks.by_id(vm, number)
    if disk is not None:
        vm_disks.release_all(front, vm.id, [disk])
        vm.template.items = [item for item in vm.template.items if item[1] is not disk]
        vm["snapshots"].pop(str(number), None)


def attach_nic(front: Front, caller: Caller, vm: Record, wanted: dict[str, str]) -> None:
    _check(vm, "Could not add a new NIC to")
    number = max((int(nic["NIC_ID"]) for nic in vm.template.vectors("NIC")), default=-1) + 1
    try:
        nic = vm_nics.acquire(front, vm, wanted, number)
    except vm_nics.NicProblem as error:
        raise errors.action(str(error)) from None
    vm.template.add("NIC", nic)
    _hotplug(front, caller, vm, "nic-attach", "HOTPLUG_NIC", "HOTPLUG_NIC_POWEROFF", lambda: None, lambda vm: None)


def detach_nic(front: Front, caller: Caller, vm: Record, number: int) -> None:
    _check(vm, "Could not detach NIC from")
    nic = next((nic for nic in vm.template.vectors("NIC") if nic["NIC_ID"] == str(number)), None)
    if nic is None:
        raise errors.action(f"Could not detach NIC with NIC_ID {number}. It does not exist.")
    vm_nics.release(front, vm, nic)
    vm.template.items = [item for item in vm.template.items if item[1] is not nic]
    _hotplug(front, caller, vm, "nic-detach", "HOTPLUG_NIC", "HOTPLUG_NIC_POWEROFF", lambda: None, lambda vm: None)


def _hotplug(front: Front, caller: Caller, vm: Record, action: str, live: str, off: str, work: Callable[[], None],
             undo: vm_run.Change, done: vm_run.Change = lambda vm: None) -> None:
    running = vm_states.is_running(vm)
    lcm_name = live if running else off
    vm_states.reopen_history(front, vm, action, caller)
    vm_states.enter(front, vm, lcm_name)

    def run() -> None:
        front.wait("hotplug")
        problem = ""
        try:
            work()
        except (disks.DiskError, OSError) as error:
            problem = f"Error executing image transfer script: {error}"

        def end(vm: Record) -> None:
            if problem:
                vm_run.set_error(vm, problem)
            (undo if problem else done)(vm)
            vm_states.set_state(front, vm, ACTIVE if running else POWEROFF, RUNNING if running else 0)

        vm_run.change(front, vm.id, lcm_name, end)

    vm_run.background(front, vm, run)
