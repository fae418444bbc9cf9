# SPDX-License-Identifier: Apache-2.0
"""VM states: numbers, names, changes, and the history records that go with them."""

from __future__ import annotations

from typing import Any

from sandbox.core.caller import SYSTEM, Caller
from sandbox.core.front import Front
from sandbox.core.record import Record, now

INIT, PENDING, HOLD, ACTIVE, STOPPED, SUSPENDED, DONE = 0, 1, 2, 3, 4, 5, 6
POWEROFF, UNDEPLOYED, CLONING, CLONING_FAILURE = 8, 9, 10, 11
STATES = ("INIT", "PENDING", "HOLD", "ACTIVE", "STOPPED", "SUSPENDED", "DONE", "", "POWEROFF", "UNDEPLOYED", "CLONING",
          "CLONING_FAILURE")
LCM_STATES = (
    "LCM_INIT", "PROLOG", "BOOT", "RUNNING", "MIGRATE", "SAVE_STOP", "SAVE_SUSPEND", "SAVE_MIGRATE", "PROLOG_MIGRATE",
    "PROLOG_RESUME", "EPILOG_STOP", "EPILOG", "SHUTDOWN", "CANCEL", "FAILURE", "CLEANUP_RESUBMIT", "UNKNOWN",
    "HOTPLUG", "SHUTDOWN_POWEROFF", "BOOT_UNKNOWN", "BOOT_POWEROFF", "BOOT_SUSPENDED", "BOOT_STOPPED",
    "CLEANUP_DELETE", "HOTPLUG_SNAPSHOT", "HOTPLUG_NIC", "HOTPLUG_SAVEAS", "HOTPLUG_SAVEAS_POWEROFF",
    "HOTPLUG_SAVEAS_SUSPENDED", "SHUTDOWN_UNDEPLOY", "EPILOG_UNDEPLOY", "PROLOG_UNDEPLOY", "BOOT_UNDEPLOY",
    "HOTPLUG_PROLOG_POWEROFF", "HOTPLUG_EPILOG_POWEROFF", "BOOT_MIGRATE", "BOOT_FAILURE", "BOOT_MIGRATE_FAILURE",
    "PROLOG_MIGRATE_FAILURE", "PROLOG_FAILURE", "EPILOG_FAILURE", "EPILOG_STOP_FAILURE", "EPILOG_UNDEPLOY_FAILURE",
    "PROLOG_MIGRATE_POWEROFF", "PROLOG_MIGRATE_POWEROFF_FAILURE", "PROLOG_MIGRATE_SUSPEND",
    "PROLOG_MIGRATE_SUSPEND_FAILURE", "BOOT_UNDEPLOY_FAILURE", "BOOT_STOPPED_FAILURE", "PROLOG_RESUME_FAILURE",
    "PROLOG_UNDEPLOY_FAILURE", "DISK_SNAPSHOT_POWEROFF", "DISK_SNAPSHOT_REVERT_POWEROFF",
    "DISK_SNAPSHOT_DELETE_POWEROFF", "DISK_SNAPSHOT_SUSPENDED", "DISK_SNAPSHOT_REVERT_SUSPENDED",
    "DISK_SNAPSHOT_DELETE_SUSPENDED", "DISK_SNAPSHOT", "DISK_SNAPSHOT_REVERT", "DISK_SNAPSHOT_DELETE",
    "PROLOG_MIGRATE_UNKNOWN", "PROLOG_MIGRATE_UNKNOWN_FAILURE", "DISK_RESIZE", "DISK_RESIZE_POWEROFF",
    "DISK_RESIZE_UNDEPLOYED", "HOTPLUG_NIC_POWEROFF", "HOTPLUG_RESIZE", "HOTPLUG_SAVEAS_UNDEPLOYED",
    "HOTPLUG_SAVEAS_STOPPED", "BACKUP", "BACKUP_POWEROFF", "RESTORE",
)
LCM: dict[str, int] = {name: number for number, name in enumerate(LCM_STATES)}
RUNNING, UNKNOWN = LCM["RUNNING"], LCM["UNKNOWN"]
ACTIONS = {"undeploy": 5, "undeploy-hard": 6, "hold": 7, "release": 8, "stop": 9, "suspend": 10, "resume": 11,
           "recover-delete": 13, "reboot": 15, "reboot-hard": 16, "poweroff": 19, "poweroff-hard": 20,
           "disk-attach": 21, "disk-detach": 22, "nic-attach": 23, "nic-detach": 24, "disk-snapshot-create": 25,
           "disk-snapshot-delete": 26, "terminate": 27, "terminate-hard": 28, "disk-snapshot-revert": 41, "migrate": 1,
           "live-migrate": 2, "disk-resize": 29, "resize": 35, "monitor": 44, "poff-migrate": 48,
           "poff-hard-migrate": 49}


def new_fields(user_template: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a VM that was just made."""
    return {"last_poll": 0, "state": INIT, "lcm_state": 0, "prev_state": INIT, "prev_lcm_state": 0, "resched": 0,
            "stime": 0, "etime": 0, "deploy_id": "", "history": [], "user_template": user_template, "snapshots": {},
            "backup_config": {}, "backup_ids": [], "hold": False}


def name(vm: Record) -> str:
    """The state as messages say it: the LCM state of an ACTIVE VM, else the state."""
    if vm["state"] == ACTIVE:
        return LCM_STATES[vm["lcm_state"]]
    return STATES[vm["state"]]


def is_running(vm: Record) -> bool:
    return bool(vm["state"] == ACTIVE and vm["lcm_state"] == RUNNING)


def set_state(front: Front, vm: Record, state: int, lcm_state: int = 0) -> None:
    """Changes the state; the previous one stays visible until hooks have seen the change."""
    vm["state"], vm["lcm_state"] = state, lcm_state
    front.log_vm(vm.id, f"New state is {STATES[state]}" if state != ACTIVE else
                 f"New LCM state is {LCM_STATES[lcm_state]}")
    front.save(vm)


def enter(front: Front, vm: Record, lcm_name: str) -> None:
    """ACTIVE in the named LCM state."""
    set_state(front, vm, ACTIVE, LCM[lcm_name])


def open_history(front: Front, vm: Record, host: Record, tm_mad: str, prolog: bool) -> dict[str, Any]:
    """A new history record; with `prolog` its disks are being brought to the host first."""
    moment = now()
    item: dict[str, Any] = {
        "OID": vm.id, "SEQ": len(vm["history"]), "HOSTNAME": host.name, "HID": host.id, "CID": host["clusters"][0],
        "STIME": moment, "ETIME": 0, "VM_MAD": host["vm_mad"], "TM_MAD": tm_mad, "DS_ID": 0,
        "PSTIME": moment if prolog else 0, "PETIME": 0, "RSTIME": 0 if prolog else moment, "RETIME": 0, "ESTIME": 0,
        "EETIME": 0, "ACTION": 0, "UID": -1, "GID": -1, "REQUEST_ID": -1,
    }
    vm["history"].append(item)
    return item


def reopen_history(front: Front, vm: Record, action: str = "", caller: Caller = SYSTEM) -> dict[str, Any]:
    """Closes the current record and opens the next one on the same host: for a resume, or for an `action` that leaves
    the VM as it is, which the old record is marked with while the new one keeps what stopped the VM (oned's
    close_cp_history)."""
    last = last_history(vm)
    moment = now()
    stopped = last["ACTION"] if action else ACTIONS["resume"]
    rests = bool(action and last["RETIME"])
    if action:
        mark(vm, action, caller)
    last["ETIME"] = moment
    last["RETIME"] = last["RETIME"] or moment
    item = {**last, "SEQ": last["SEQ"] + 1, "STIME": moment, "ETIME": 0, "PSTIME": 0, "PETIME": 0, "RSTIME": moment,
            "RETIME": moment if rests else 0, "ESTIME": 0, "EETIME": 0, "ACTION": stopped, "UID": -1, "GID": -1,
            "REQUEST_ID": -1}
    vm["history"].append(item)
    if not action:
        mark(vm, "resume", caller)
    return item


def last_history(vm: Record) -> dict[str, Any]:
    item: dict[str, Any] = vm["history"][-1]
    return item


def mark(vm: Record, action: str, caller: Caller) -> None:
    """Notes in the current history record which action by whom ends it."""
    if vm["history"]:
        last_history(vm).update(ACTION=ACTIONS[action], UID=caller.uid, GID=caller.gid, REQUEST_ID=caller.request)


def host_mad(vm: Record) -> str:
    """The VMM driver of the VM's host ("" when it has none)."""
    return str(vm["history"][-1]["VM_MAD"]) if vm["history"] else ""
