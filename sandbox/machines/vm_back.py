# SPDX-License-Identifier: Apache-2.0
"""The way back from a saveas: to the state the VM had before."""

from __future__ import annotations

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.machines import vm_states
from sandbox.machines.vm_states import ACTIVE, LCM_STATES, POWEROFF, RUNNING, STOPPED, SUSPENDED, UNDEPLOYED

STATES = {POWEROFF: "HOTPLUG_SAVEAS_POWEROFF", SUSPENDED: "HOTPLUG_SAVEAS_SUSPENDED",
          UNDEPLOYED: "HOTPLUG_SAVEAS_UNDEPLOYED", STOPPED: "HOTPLUG_SAVEAS_STOPPED"}
BACK = {name: state for state, name in STATES.items()}
LIVE = "HOTPLUG_SAVEAS"


def go_back(front: Front, vm: Record, lcm_name: str) -> None:
    """The state the VM had before the saveas."""
    if lcm_name == LIVE:
        vm_states.set_state(front, vm, ACTIVE, RUNNING)
    else:
        vm_states.set_state(front, vm, BACK[lcm_name])


def from_saveas(front: Front, vm_id: int, image_id: int) -> None:
    """The image of a saveas under way was deleted: its VM does not wait for the copy any longer."""
    vm = front.find("vm", vm_id)
    if vm is None or vm["state"] != ACTIVE or vm.get("saving") != image_id:
        return
    name = LCM_STATES[vm["lcm_state"]]
    if name == LIVE or name in BACK:
        go_back(front, vm, name)
