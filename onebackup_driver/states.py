# SPDX-License-Identifier: Apache-2.0
"""The numbers of OpenNebula's states (include/VirtualMachine.h, Image.h, MarketPlaceApp.h) and their names."""

from __future__ import annotations

from typing import NamedTuple

ACTIVE, STOPPED, SUSPENDED, DONE, POWEROFF, UNDEPLOYED = 3, 4, 5, 6, 8, 9
CLONING_FAILURE = 11
LCM_RUNNING, LCM_UNKNOWN = 3, 16

IMAGE_READY, IMAGE_USED, IMAGE_LOCKED, IMAGE_ERROR, IMAGE_USED_PERSISTENT = 1, 2, 4, 5, 8
IMAGE_DELETE = 7
APP_READY, APP_LOCKED, APP_ERROR, APP_DISABLED = 1, 2, 3, 4
APP_TYPE_IMAGE, APP_TYPE_VMTEMPLATE = 1, 2
MARKETPLACE_ENABLED = 0
DATASTORE_TYPE_IMAGE = 0

_VM = {
    0: "INIT",
    1: "PENDING",
    2: "HOLD",
    3: "ACTIVE",
    4: "STOPPED",
    5: "SUSPENDED",
    6: "DONE",
    8: "POWEROFF",
    9: "UNDEPLOYED",
    10: "CLONING",
    11: "CLONING_FAILURE",
}
_LCM = {
    1: "PROLOG",
    2: "BOOT",
    3: "RUNNING",
    4: "MIGRATE",
    5: "SAVE_STOP",
    6: "SAVE_SUSPEND",
    7: "SAVE_MIGRATE",
    8: "PROLOG_MIGRATE",
    9: "PROLOG_RESUME",
    10: "EPILOG_STOP",
    11: "EPILOG",
    12: "SHUTDOWN",
    15: "CLEANUP_RESUBMIT",
    16: "UNKNOWN",
    17: "HOTPLUG",
    18: "SHUTDOWN_POWEROFF",
    19: "BOOT_UNKNOWN",
    20: "BOOT_POWEROFF",
    21: "BOOT_SUSPENDED",
    22: "BOOT_STOPPED",
    23: "CLEANUP_DELETE",
    24: "HOTPLUG_SNAPSHOT",
    25: "HOTPLUG_NIC",
    26: "HOTPLUG_SAVEAS",
    27: "HOTPLUG_SAVEAS_POWEROFF",
    28: "HOTPLUG_SAVEAS_SUSPENDED",
    29: "SHUTDOWN_UNDEPLOY",
    30: "EPILOG_UNDEPLOY",
    31: "PROLOG_UNDEPLOY",
    32: "BOOT_UNDEPLOY",
    36: "BOOT_FAILURE",
    38: "PROLOG_FAILURE",
    39: "EPILOG_FAILURE",
    51: "DISK_SNAPSHOT_POWEROFF",
    57: "DISK_SNAPSHOT",
    59: "DISK_SNAPSHOT_DELETE",
    60: "PROLOG_MIGRATE_UNKNOWN",
    61: "PROLOG_MIGRATE_UNKNOWN_FAILURE",
    62: "DISK_RESIZE",
    67: "HOTPLUG_SAVEAS_UNDEPLOYED",
    68: "HOTPLUG_SAVEAS_STOPPED",
    69: "BACKUP",
    70: "BACKUP_POWEROFF",
    71: "RESTORE",
}
_IMAGE = {
    0: "INIT",
    1: "READY",
    2: "USED",
    3: "DISABLED",
    4: "LOCKED",
    5: "ERROR",
    6: "CLONE",
    7: "DELETE",
    8: "USED_PERS",
    9: "LOCKED_USED",
    10: "LOCKED_USED_PERS",
}
_APP = {0: "INIT", 1: "READY", 2: "LOCKED", 3: "ERROR", 4: "DISABLED"}


class VmState(NamedTuple):
    """STATE and LCM_STATE of a VM; the second counts only while the first is ACTIVE."""

    state: int
    lcm_state: int

    def __str__(self) -> str:
        if self.state == ACTIVE:
            return _LCM.get(self.lcm_state, f"LCM_STATE {self.lcm_state}")
        return _VM.get(self.state, f"STATE {self.state}")


RUNNING = VmState(ACTIVE, LCM_RUNNING)
POWERED_OFF = VmState(POWEROFF, 0)
SUSPENDED_STATE = VmState(SUSPENDED, 0)
STOPPED_STATE = VmState(STOPPED, 0)
UNDEPLOYED_STATE = VmState(UNDEPLOYED, 0)

#: Resting states in which oned takes disksaveas (src/vm/VirtualMachine.cc set_saveas_state), RUNNING apart.
AT_REST = (POWERED_OFF, SUSPENDED_STATE, STOPPED_STATE, UNDEPLOYED_STATE)

#: The state a VM shows while a disk of it is saved, by its resting state.
SAVING = {RUNNING: 26, POWERED_OFF: 27, SUSPENDED_STATE: 28, UNDEPLOYED_STATE: 67, STOPPED_STATE: 68}

#: The state a VM shows on the way down, by mode.
GOING_DOWN = {"POWEROFF": VmState(ACTIVE, 18), "SUSPEND": VmState(ACTIVE, 6)}

FAILURE_LCM_STATES = (36, 38, 39, 42, 46, 47, 48, 49, 50, 61)


def image(number: int) -> str:
    """Name of an image's STATE."""
    return _IMAGE.get(number, f"STATE {number}")


def app(number: int) -> str:
    """Name of a marketplace app's STATE."""
    return _APP.get(number, f"STATE {number}")
