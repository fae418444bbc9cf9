# SPDX-License-Identifier: Apache-2.0
"""Steps of a VM's life on threads: deploy, boot, shut down, suspend, stop, undeploy, terminate."""

from __future__ import annotations

from typing import Callable, Optional

from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.record import Record, now
from sandbox.core.template import Template
from sandbox.machines import vm_states, vm_storage
from sandbox.machines.vm_states import LCM
from sandbox.objects import vm_disks, vm_nics
from sandbox.world import disks, guest

Change = Callable[[Record], None]


def background(front: Front, vm: Record, work: Callable[[], None]) -> None:
    front.spawn(f"vm {vm.id}", work)


def change(front: Front, vm_id: int, lcm_name: str, then: Change) -> bool:
    """Applies `then` if the VM is still where this step expects it to be."""
    with front.transaction():
        vm = front.find("vm", vm_id)
        if vm is None or vm["state"] != vm_states.ACTIVE or vm["lcm_state"] != LCM[lcm_name]:
            return False
        then(vm)
        front.save(vm)
        return True


def set_error(vm: Record, message: str) -> None:
    """ERROR in the USER_TEMPLATE, as oned writes it for VMs."""
    template = Template(vm["user_template"])
    template.set_error(message, separator=": ")
    vm["user_template"] = template.items


def deploy(front: Front, vm: Record, host: Record) -> None:
    """From PENDING to RUNNING on a host (also for VMs coming back from STOPPED or UNDEPLOYED)."""
    kept = vm_storage.directory(front, vm.id).exists() and bool(vm["history"])
    system = front.get("datastore", 0)
    if kept:
        vm_states.last_history(vm)["ETIME"] = vm_states.last_history(vm)["ETIME"] or now()
    vm_states.open_history(front, vm, host, system["tm_mad"], prolog=True)
    _place(front, vm, host, system)
    stopped = vm.get("was") == vm_states.STOPPED
    before, boot = ("PROLOG_RESUME", "BOOT_STOPPED") if stopped else ("PROLOG_UNDEPLOY", "BOOT_UNDEPLOY")
    if not kept:
        before, boot = "PROLOG", "BOOT"
    vm_states.set_state(front, vm, vm_states.ACTIVE, 0)
    background(front, vm, lambda: _prolog(front, vm.id, before, boot, kept))


def _place(front: Front, vm: Record, host: Record, system: Record) -> None:
    """What deployment adds to the template: volatile disks' datastore, display port, deploy id."""
    for disk in vm_disks.of(vm):
        if vm_disks.is_volatile(disk):
            disk.update({"DATASTORE": system.name, "DATASTORE_ID": "0", "TM_MAD": system["tm_mad"],
                         "CLUSTER_ID": ",".join(str(number) for number in system["clusters"]), "DISK_TYPE": "FILE",
                         "ALLOW_ORPHANS": system.template.get("ALLOW_ORPHANS", "FORMAT")})
            disk["FORMAT"] = disk["FORMAT"] if disk.get("FORMAT") in disks.FORMATS else "raw"
            disk["DRIVER"] = disk["FORMAT"]
            if front.settings.modern:
                disk["PERSISTENT_SNAPSHOTS"] = "YES"
    for graphics in vm.template.vectors("GRAPHICS"):
        graphics.setdefault("PORT", str(5900 + vm.id))
    vm.template.set("TM_MAD_SYSTEM", system["tm_mad"])
    vm["deploy_id"] = f"{host.name}:{vm.name}:dummy" if host["vm_mad"] == "dummy" else f"one-{vm.id}"


def _prolog(front: Front, vm_id: int, before: str, boot_state: str, kept: bool) -> None:
    with front.transaction():
        vm = front.find("vm", vm_id)
        if vm is None or vm["state"] != vm_states.ACTIVE or vm["lcm_state"] != 0:
            return
        vm_states.enter(front, vm, before)
        work = vm_storage.plans(front, vm)
    front.wait("prolog")
    problem = None if kept else _provide(work)
    if problem or front.faults.fails("prolog", vm_id):
        change(front, vm_id, before, lambda vm: _failed(front, vm, f"{before}_FAILURE", problem or "Failed on request"))
        return
    if change(front, vm_id, before, lambda vm: _start_boot(front, vm, boot_state)):
        boot(front, vm_id, boot_state)


def _provide(work: list[vm_storage.Plan]) -> Optional[str]:
    for plan in work:
        try:
            vm_storage.provide(plan)
        except (disks.DiskError, OSError) as error:
            return f"Error executing image transfer script: {error}"
    return None


def _failed(front: Front, vm: Record, lcm_name: str, message: str) -> None:
    set_error(vm, message)
    front.log_vm(vm.id, message, "E", "TrM")
    vm_states.enter(front, vm, lcm_name)


def _start_boot(front: Front, vm: Record, boot_state: str) -> None:
    history = vm_states.last_history(vm)
    history["PETIME"] = history["RSTIME"] = now()
    vm_states.enter(front, vm, boot_state)


def boot(front: Front, vm_id: int, boot_state: str, what: str = "boot") -> None:
    """From one of the BOOT states to RUNNING, or to where oned falls back when booting fails."""
    with front.transaction():
        vm = front.find("vm", vm_id)
        if vm is None:
            return
        work, wanted = vm_storage.plans(front, vm), vm_storage.has_guest(vm)
        mad = vm_states.host_mad(vm)
    front.wait(what, mad)
    if front.faults.fails(what, vm_id) or not _boot_guest(front, vm_id, work, wanted):
        change(front, vm_id, boot_state, lambda vm: _boot_failed(front, vm, boot_state))
        return
    if not change(front, vm_id, boot_state, lambda vm: _booted(front, vm)):
        vm_storage.stop_guest(front, vm_id, hard=True)


def _booted(front: Front, vm: Record) -> None:
    vm_states.last_history(vm).update(ACTION=0, UID=-1, GID=-1, REQUEST_ID=-1, ETIME=0, RETIME=0)
    vm_states.enter(front, vm, "RUNNING")


def guest_ended(front: Front, vm: Record) -> None:
    """The guest has shut itself down; the monitoring of a RUNNING VM notices (oned's trigger_monitor_poweroff)."""
    front.log_vm(vm.id, "VM running but monitor state is POWEROFF", "I", "LCM")
    vm_states.last_history(vm).update(ACTION=vm_states.ACTIONS["monitor"], UID=-1, GID=-1, REQUEST_ID=-1, RETIME=now())
    vm_states.set_state(front, vm, vm_states.POWEROFF)


def _boot_guest(front: Front, vm_id: int, work: list[vm_storage.Plan], wanted: bool) -> bool:
    try:
        vm_storage.start_guest(front, vm_id, work, wanted)
        return True
    except guest.GuestError as error:
        front.log_vm(vm_id, f"Error deploying virtual machine: {error}", "E", "VMM")
        return False


def _boot_failed(front: Front, vm: Record, boot_state: str) -> None:
    back = {"BOOT_POWEROFF": vm_states.POWEROFF, "BOOT_SUSPENDED": vm_states.SUSPENDED}
    if boot_state in back:
        vm_states.last_history(vm)["RETIME"] = now()
        vm_states.set_state(front, vm, back[boot_state])
        return
    set_error(vm, "Error deploying virtual machine")
    vm_states.enter(front, vm, f"{boot_state}_FAILURE" if f"{boot_state}_FAILURE" in LCM else "BOOT_FAILURE")


def resume(front: Front, vm: Record, caller: Caller) -> None:
    """From POWEROFF or SUSPENDED (they keep their host) to RUNNING."""
    boot_state = "BOOT_POWEROFF" if vm["state"] == vm_states.POWEROFF else "BOOT_SUSPENDED"
    vm_states.reopen_history(front, vm, caller=caller)
    vm_states.enter(front, vm, boot_state)
    background(front, vm, lambda: boot(front, vm.id, boot_state, "resume"))


def shut_down(front: Front, vm: Record, what: str, lcm_name: str, hard: bool, then: Change) -> None:
    """Guest down in the given LCM state, then `then`; a failure falls back to RUNNING."""
    vm_states.enter(front, vm, lcm_name)
    mad = "" if hard else vm_states.host_mad(vm)
    background(front, vm, lambda: _shut_down(front, vm.id, what, lcm_name, mad, hard, then))


def _shut_down(front: Front, vm_id: int, what: str, lcm_name: str, mad: str, hard: bool, then: Change) -> None:
    front.wait(what, mad)
    if front.faults.fails(what, vm_id):
        front.log_vm(vm_id, "Fail to shutdown VM. Assuming RUNNING", "E", "LCM")
        change(front, vm_id, lcm_name, lambda vm: vm_states.enter(front, vm, "RUNNING"))
        return
    if lcm_name in ("SAVE_SUSPEND", "SAVE_STOP"):
        vm_storage.pause_guest(front, vm_id)
    else:
        vm_storage.stop_guest(front, vm_id, hard)

    def apply(vm: Record) -> None:
        vm_states.last_history(vm)["RETIME"] = now()
        then(vm)

    change(front, vm_id, lcm_name, apply)


def to_state(front: Front, state: int) -> Change:
    return lambda vm: vm_states.set_state(front, vm, state)


def leave_host(front: Front, vm: Record, lcm_name: str, state: int) -> None:
    """EPILOG_STOP or EPILOG_UNDEPLOY to STOPPED or UNDEPLOYED."""
    vm_states.enter(front, vm, lcm_name)
    vm_states.last_history(vm)["ESTIME"] = now()

    def work() -> None:
        front.wait("epilog")

        def finish(vm: Record) -> None:
            history = vm_states.last_history(vm)
            history["EETIME"] = history["ETIME"] = now()
            vm_states.set_state(front, vm, state)

        change(front, vm.id, lcm_name, finish)

    background(front, vm, work)


def clean_up(front: Front, vm: Record, lcm_name: str = "EPILOG") -> None:
    """EPILOG (or CLEANUP_DELETE) to DONE: files away, images and leases released."""
    vm_states.enter(front, vm, lcm_name)
    if vm["history"]:
        vm_states.last_history(vm)["ESTIME"] = now()

    def work() -> None:
        vm_storage.stop_guest(front, vm.id, hard=True)
        front.wait("epilog")
        change(front, vm.id, lcm_name, lambda vm: finish(front, vm))
        vm_storage.remove(front, vm.id)

    background(front, vm, work)


def finish(front: Front, vm: Record) -> None:
    """The VM is DONE: nothing of it is held any more."""
    moment = now()
    if vm["history"]:
        history = vm_states.last_history(vm)
        history["ETIME"] = moment
        history["EETIME"] = moment if history["ESTIME"] else 0
    vm["etime"] = moment
    for graphics in vm.template.vectors("GRAPHICS"):
        graphics.pop("PORT", None)
    vm_disks.release_all(front, vm.id, vm_disks.of(vm))
    vm_nics.release_all(front, vm)
    vm_states.set_state(front, vm, vm_states.DONE)
