# SPDX-License-Identifier: Apache-2.0
"""one.vm.action: which action is possible in which state, and what it sets off."""

from __future__ import annotations

from typing import Callable

from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.machines import vm_run, vm_states, vm_storage
from sandbox.machines.vm_states import (
    ACTIVE,
    DONE,
    HOLD,
    PENDING,
    POWEROFF,
    RUNNING,
    STOPPED,
    SUSPENDED,
    UNDEPLOYED,
    UNKNOWN,
)


class Unavailable(Exception):
    """The action is not possible in the VM's state; the message is oned's."""


def refuse(vm: Record) -> Unavailable:
    return Unavailable(f"This action is not available for state {vm_states.name(vm)}")


def _active(vm: Record, *lcm_states: int) -> bool:
    return bool(vm["state"] == ACTIVE and vm["lcm_state"] in lcm_states)


def poweroff(front: Front, vm: Record, caller: Caller, hard: bool = False) -> None:
    if not _active(vm, RUNNING, UNKNOWN):
        raise refuse(vm)
    vm_states.mark(vm, "poweroff-hard" if hard else "poweroff", caller)
    vm_run.shut_down(front, vm, "poweroff", "SHUTDOWN_POWEROFF", hard, vm_run.to_state(front, POWEROFF))


def resume(front: Front, vm: Record, caller: Caller) -> None:
    if vm["state"] in (STOPPED, UNDEPLOYED):
        vm["was"] = vm["state"]
        vm_states.set_state(front, vm, PENDING)
    elif vm["state"] in (SUSPENDED, POWEROFF):
        vm_run.resume(front, vm, caller)
    elif _active(vm, UNKNOWN):
        vm_states.enter(front, vm, "BOOT_UNKNOWN")
        vm_run.background(front, vm, lambda: vm_run.boot(front, vm.id, "BOOT_UNKNOWN", "resume"))
    else:
        raise refuse(vm)


def suspend(front: Front, vm: Record, caller: Caller) -> None:
    if not _active(vm, RUNNING):
        raise refuse(vm)
    vm_states.mark(vm, "suspend", caller)
    vm_run.shut_down(front, vm, "suspend", "SAVE_SUSPEND", False, vm_run.to_state(front, SUSPENDED))


def stop(front: Front, vm: Record, caller: Caller) -> None:
    if vm["state"] == SUSPENDED:
        vm_states.mark(vm, "stop", caller)
        vm_run.leave_host(front, vm, "EPILOG_STOP", STOPPED)
    elif _active(vm, RUNNING):
        vm_states.mark(vm, "stop", caller)
        vm_run.shut_down(front, vm, "stop", "SAVE_STOP", False,
                         lambda vm: vm_run.leave_host(front, vm, "EPILOG_STOP", STOPPED))
    else:
        raise refuse(vm)


def undeploy(front: Front, vm: Record, caller: Caller, hard: bool = False) -> None:
    if vm["state"] == POWEROFF:
        vm_states.mark(vm, "undeploy", caller)
        vm_run.leave_host(front, vm, "EPILOG_UNDEPLOY", UNDEPLOYED)
    elif _active(vm, RUNNING, UNKNOWN):
        vm_states.mark(vm, "undeploy-hard" if hard else "undeploy", caller)
        vm_run.shut_down(front, vm, "undeploy", "SHUTDOWN_UNDEPLOY", hard,
                         lambda vm: vm_run.leave_host(front, vm, "EPILOG_UNDEPLOY", UNDEPLOYED))
    else:
        raise refuse(vm)


def terminate(front: Front, vm: Record, caller: Caller, hard: bool = False) -> None:
    state = vm["state"]
    failures = tuple(number for name, number in vm_states.LCM.items() if name.endswith("FAILURE"))
    if state == DONE:
        return
    if state == ACTIVE and not _active(vm, RUNNING, UNKNOWN, vm_states.LCM["SHUTDOWN"], *failures):
        raise Unavailable(f"Could not terminate VM {vm.id}, wrong state {vm_states.name(vm)}.")
    vm_states.mark(vm, "terminate-hard" if hard else "terminate", caller)
    if state == ACTIVE and vm["lcm_state"] == RUNNING:
        vm_run.shut_down(front, vm, "shutdown", "SHUTDOWN", hard, lambda vm: vm_run.clean_up(front, vm))
    elif state in (POWEROFF, SUSPENDED, STOPPED, UNDEPLOYED, ACTIVE):
        vm_run.clean_up(front, vm)
    else:
        vm_run.finish(front, vm)


def hold(front: Front, vm: Record, caller: Caller) -> None:
    if vm["state"] != PENDING:
        raise refuse(vm)
    vm_states.set_state(front, vm, HOLD)


def release(front: Front, vm: Record, caller: Caller) -> None:
    if vm["state"] != HOLD:
        raise refuse(vm)
    vm_states.set_state(front, vm, PENDING)


def reboot(front: Front, vm: Record, caller: Caller, hard: bool = False) -> None:
    """RUNNING stays RUNNING; the guest starts anew."""
    if not _active(vm, RUNNING):
        raise refuse(vm)
    work, wanted = vm_storage.plans(front, vm), vm_storage.has_guest(vm)

    def again() -> None:
        vm_storage.stop_guest(front, vm.id, hard)
        front.wait("reboot")
        vm_storage.start_guest(front, vm.id, work, wanted)

    vm_run.background(front, vm, again)


def resched(front: Front, vm: Record, caller: Caller, on: bool = True) -> None:
    if vm["state"] != POWEROFF and not _active(vm, RUNNING, UNKNOWN):
        raise refuse(vm)
    vm["resched"] = int(on)
    front.save(vm)


Action = Callable[[Front, Record, Caller], None]
ACTIONS: dict[str, Action] = {
    "poweroff": poweroff, "resume": resume, "suspend": suspend, "stop": stop, "undeploy": undeploy,
    "terminate": terminate, "hold": hold, "release": release, "reboot": reboot, "resched": resched,
    "poweroff-hard": lambda front, vm, caller: poweroff(front, vm, caller, True),
    "undeploy-hard": lambda front, vm, caller: undeploy(front, vm, caller, True),
    "terminate-hard": lambda front, vm, caller: terminate(front, vm, caller, True),
    "reboot-hard": lambda front, vm, caller: reboot(front, vm, caller, True),
    "unresched": lambda front, vm, caller: resched(front, vm, caller, False),
}
