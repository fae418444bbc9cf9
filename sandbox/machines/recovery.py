# SPDX-License-Identifier: Apache-2.0
"""After a restart of the emulator: operations that were under way end in their failure state or are finished."""

from __future__ import annotations

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.machines import image_files, imports, vm_back, vm_run, vm_snapshots, vm_states, vm_storage
from sandbox.machines.vm_states import ACTIVE, LCM_STATES, POWEROFF, RUNNING, STOPPED, SUSPENDED, UNDEPLOYED
from sandbox.objects import vnets
from sandbox.world import guest

BOOTS = ("BOOT", "BOOT_UNDEPLOY", "BOOT_STOPPED", "BOOT_POWEROFF", "BOOT_SUSPENDED", "BOOT_UNKNOWN",
         "BOOT_MIGRATE")
RESTING = {"DISK_RESIZE_UNDEPLOYED": UNDEPLOYED, "PROLOG_MIGRATE_SUSPEND": SUSPENDED}
SHUTDOWNS = {"SHUTDOWN_POWEROFF": POWEROFF, "SAVE_SUSPEND": SUSPENDED}
LEAVING = {"SAVE_STOP": ("EPILOG_STOP", STOPPED), "EPILOG_STOP": ("EPILOG_STOP", STOPPED),
           "SHUTDOWN_UNDEPLOY": ("EPILOG_UNDEPLOY", UNDEPLOYED), "EPILOG_UNDEPLOY": ("EPILOG_UNDEPLOY", UNDEPLOYED)}


def after_restart(front: Front) -> None:
    with front.transaction():
        imports.abandoned(front)
        image_files.abandoned(front)
        for network in front.all("vn"):
            vnets.make_ready(front, network.id)
        for vm in front.all("vm"):
            if vm["state"] == ACTIVE:
                _settle(front, vm, LCM_STATES[vm["lcm_state"]])


def _settle(front: Front, vm: Record, name: str) -> None:
    if name == "RUNNING":
        _running(front, vm)
    elif name in ("LCM_INIT", "PROLOG", "PROLOG_UNDEPLOY", "PROLOG_RESUME"):
        vm["history"].pop()
        vm_states.set_state(front, vm, vm_states.PENDING)
        if name in ("LCM_INIT", "PROLOG") and not vm["history"]:
            vm_storage.remove(front, vm.id)
    elif name in BOOTS:
        vm_run.background(front, vm, lambda: vm_run.boot(front, vm.id, name))
    elif name in SHUTDOWNS:
        vm_run.shut_down(front, vm, "poweroff", name, False, vm_run.to_state(front, SHUTDOWNS[name]))
    elif name in RESTING:
        vm_states.set_state(front, vm, RESTING[name])
    elif name in LEAVING:
        vm_run.leave_host(front, vm, *LEAVING[name])
    elif name in ("SHUTDOWN", "EPILOG", "CLEANUP_DELETE"):
        vm_run.clean_up(front, vm)
    elif name.startswith("HOTPLUG_SAVEAS"):
        vm_back.go_back(front, vm, name)
    else:
        _back(front, vm, name)


def _running(front: Front, vm: Record) -> None:
    """A guest that died meanwhile is a VM that powered itself off; one that should never have been is fine."""
    place = vm_storage.directory(front, vm.id)
    had_one = vm_storage.has_guest(vm) and bool(vm_storage.guest_disks(vm_storage.plans(front, vm)))
    if had_one and not guest.is_running(place):
        vm_states.set_state(front, vm, POWEROFF)


def _back(front: Front, vm: Record, name: str) -> None:
    for state, suffix in vm_snapshots.SUFFIX.items():
        if suffix and name.endswith(suffix):
            vm_states.set_state(front, vm, state)
            return
    if not name.endswith("FAILURE") and name != "UNKNOWN":
        vm_states.set_state(front, vm, ACTIVE, RUNNING)
