# SPDX-License-Identifier: Apache-2.0
"""one.vm.migrate: live, with the guest saved or powered off on the way, and of a VM at rest.

All hosts of the sandbox share the system datastore, so no file moves; states, history and durations are oned's.
"""

from __future__ import annotations

from sandbox.core import errors
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.record import Record, now
from sandbox.machines import vm_run, vm_states, vm_storage
from sandbox.machines.vm_states import ACTIVE, POWEROFF, RUNNING, SUSPENDED, UNKNOWN

#: By the last argument of the call: 0 save, 1 poweroff, 2 poweroff-hard.
ACTIONS = {1: "poff-migrate", 2: "poff-hard-migrate"}
RESTING = {POWEROFF: "PROLOG_MIGRATE_POWEROFF", SUSPENDED: "PROLOG_MIGRATE_SUSPEND"}


def start(front: Front, caller: Caller, vm: Record, host: Record, live: bool, way: int) -> None:
    """Raises oned's refusals; else the VM is on its way to `host`."""
    state = vm["state"]
    if state not in RESTING and not (state == ACTIVE and vm["lcm_state"] in (RUNNING, UNKNOWN)):
        raise errors.action(f"Migrate action is not available for state {vm_states.name(vm)}")
    before = vm_states.last_history(vm)
    if before["HID"] == host.id:
        datastore = f" and datastore [{before['DS_ID']}]" if front.settings.modern else ""
        raise errors.action(f"VM is already running on host [{host.id}]{datastore}")
    if host["vm_mad"] != before["VM_MAD"]:
        raise errors.action(f"Cannot migrate VM [{vm.id}] to host [{host.id}]: another hypervisor")
    vm_states.open_history(front, vm, host, before["TM_MAD"], prolog=False)
    vm_states.last_history(vm)["RSTIME"] = 0
    if live and vm_states.is_running(vm):
        _live(front, caller, vm)
    elif vm_states.is_running(vm):
        _saved(front, caller, vm, ACTIONS.get(way, "migrate"))
    else:
        _at_rest(front, caller, vm)


def _live(front: Front, caller: Caller, vm: Record) -> None:
    _mark(vm["history"][-2], "live-migrate", caller)
    vm_states.enter(front, vm, "MIGRATE")

    def work() -> None:
        front.wait("migrate")
        failed = front.faults.fails("migrate", vm.id)
        vm_run.change(front, vm.id, "MIGRATE", lambda vm: _reverted(front, vm) if failed else _arrived(front, vm))

    vm_run.background(front, vm, work)


def _arrived(front: Front, vm: Record) -> None:
    _close(vm["history"][-2])
    vm_states.last_history(vm)["RSTIME"] = now()
    vm_states.enter(front, vm, "RUNNING")


def _reverted(front: Front, vm: Record) -> None:
    """The VM still runs where it was: a third history record, of the old host."""
    moment, old = now(), vm["history"][-2]
    vm_states.last_history(vm)["ETIME"] = moment
    _close(old)
    vm["history"].append({**old, "SEQ": len(vm["history"]), "STIME": moment, "RSTIME": moment, "ETIME": 0, "RETIME": 0,
                          "ACTION": 0, "UID": -1, "GID": -1, "REQUEST_ID": -1})  # fmt: skip
    front.log_vm(vm.id, "Fail to live migrate VM. Assuming that the VM is still RUNNING.")
    vm_states.enter(front, vm, "RUNNING")


def _saved(front: Front, caller: Caller, vm: Record, action: str) -> None:
    """The guest is paused (or shut down) here and goes on (or boots) there."""
    for item in vm["history"][-2:]:
        _mark(item, action, caller)
    vm_states.enter(front, vm, "SAVE_MIGRATE")
    vm_run.background(front, vm, lambda: _carry(front, vm.id, action))


def _carry(front: Front, vm_id: int, action: str) -> None:
    front.wait("suspend")
    if front.faults.fails("migrate", vm_id):
        vm_run.change(front, vm_id, "SAVE_MIGRATE", lambda vm: _reverted(front, vm))
        return
    if action == "migrate":
        vm_storage.pause_guest(front, vm_id)
    else:
        vm_storage.stop_guest(front, vm_id, hard=action == "poff-hard-migrate")

    def leave(vm: Record) -> None:
        _close(vm["history"][-2])
        vm_states.last_history(vm)["PSTIME"] = now()
        vm_states.enter(front, vm, "PROLOG_MIGRATE")

    vm_run.change(front, vm_id, "SAVE_MIGRATE", leave)
    front.wait("migrate")
    boot = "BOOT_MIGRATE" if action == "migrate" else "BOOT"

    def boots(vm: Record) -> None:
        vm_states.last_history(vm).update(PETIME=now(), RSTIME=now())
        vm_states.enter(front, vm, boot)

    if vm_run.change(front, vm_id, "PROLOG_MIGRATE", boots):
        vm_run.boot(front, vm_id, boot)


def _at_rest(front: Front, caller: Caller, vm: Record) -> None:
    state, lcm_name = vm["state"], RESTING.get(vm["state"], "PROLOG_MIGRATE_UNKNOWN")
    _close(vm["history"][-2])
    last = vm_states.last_history(vm)
    last["PSTIME"] = now()
    _mark(last, "migrate", caller)
    vm_states.enter(front, vm, lcm_name)

    def work() -> None:
        front.wait("migrate")

        def end(vm: Record) -> None:
            last = vm_states.last_history(vm)
            last["PETIME"] = now()
            if state in RESTING:
                last["RETIME"] = now()
                vm_states.set_state(front, vm, state)
            else:
                vm_states.enter(front, vm, "UNKNOWN")

        vm_run.change(front, vm.id, lcm_name, end)

    vm_run.background(front, vm, work)


def _mark(item: dict[str, object], action: str, caller: Caller) -> None:
    item.update(ACTION=vm_states.ACTIONS[action], UID=caller.uid, GID=caller.gid, REQUEST_ID=caller.request)


def _close(item: dict[str, object]) -> None:
    item["ETIME"] = now()
    item["RETIME"] = item["RETIME"] or now()
