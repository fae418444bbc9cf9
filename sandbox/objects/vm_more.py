# SPDX-License-Identifier: Apache-2.0
"""Less common calls on VMs: updateconf, disks and NICs attached, deploy, recover, native backup, monitoring."""

from __future__ import annotations

from sandbox.core import errors, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record
from sandbox.machines import vm_attach, vm_migrate, vm_resize, vm_run, vm_states
from sandbox.machines.vm_states import ACTIVE, CLONING, CLONING_FAILURE, DONE, HOLD, PENDING, POWEROFF, UNDEPLOYED
from sandbox.objects import datastores, generic, infrastructure, restricted, vm_context

CONFIGURABLE = ("OS", "FEATURES", "INPUT", "GRAPHICS", "RAW", "CONTEXT", "CPU_MODEL", "VIDEO", "BACKUP_CONFIG", "TPM")
CONFIGURABLE_IN = frozenset((
    "LCM_INIT", "PROLOG", "RUNNING", "EPILOG", "SHUTDOWN", "CLEANUP_RESUBMIT", "SHUTDOWN_POWEROFF", "CLEANUP_DELETE",
    "HOTPLUG_SAVEAS_POWEROFF", "SHUTDOWN_UNDEPLOY", "EPILOG_UNDEPLOY", "PROLOG_UNDEPLOY", "HOTPLUG_PROLOG_POWEROFF",
    "HOTPLUG_EPILOG_POWEROFF", "BOOT_FAILURE", "PROLOG_FAILURE", "EPILOG_FAILURE", "EPILOG_UNDEPLOY_FAILURE",
    "BOOT_UNDEPLOY_FAILURE", "PROLOG_UNDEPLOY_FAILURE", "DISK_SNAPSHOT_POWEROFF", "DISK_SNAPSHOT_REVERT_POWEROFF",
    "DISK_SNAPSHOT_DELETE_POWEROFF",
))


def _get(front: Front, caller: Caller, vm_id: int, right: str = rights.MANAGE) -> Record:
    vm = front.get("vm", vm_id)
    rights.require(caller, right, vm)
    return vm


@method("one.vm.updateconf", "is|i")
def updateconf(front: Front, caller: Caller, vm_id: int, text: str, append: int = 0) -> int:
    vm = _get(front, caller, vm_id)
    if append not in (0, 1):
        raise errors.CallError(errors.RPC_API, "Wrong update type")
    template = generic.parsed(text)
    restricted.refuse("vm", caller, template, "Template")
    _check_state(vm)
    if template.has("CONTEXT") and not vm.template.has("CONTEXT"):
        raise errors.internal("Virtual machine does not have context, cannot add a new one.")
    for name in dict.fromkeys(name for name, _ in template.items):
        if name in CONFIGURABLE:
            _configure(front, vm, name, [value for key, value in template.items if key == name], append == 1)
    if append == 0:
        for name in ("GRAPHICS", "RAW", "INPUT", "FEATURES", "CPU_MODEL", "VIDEO"):
            if not template.has(name):
                vm.template.remove(name)
    vm_context.encrypt(front, vm.template)
    front.save(vm)
    return vm_id


def _check_state(vm: Record) -> None:
    state = vm["state"]
    active = state == ACTIVE and vm_states.name(vm) in CONFIGURABLE_IN
    if state in (PENDING, HOLD, POWEROFF, UNDEPLOYED, CLONING, CLONING_FAILURE) or active:
        return
    raise errors.internal(f"configuration cannot be updated in state {vm_states.name(vm)}")


def _configure(front: Front, vm: Record, name: str, values: list[object], append: bool) -> None:
    vectors = [dict(value) for value in values if isinstance(value, dict)]
    if name == "BACKUP_CONFIG":
        vm["backup_config"] = {**(vm["backup_config"] if append else {}), **(vectors[0] if vectors else {})}
        return
    if name in ("OS", "CONTEXT") and vectors:
        old = vm.template.vector(name) or {}
        made = ("UUID", "DISK_ID", "TARGET") if not append else tuple(old)
        kept = {key: value for key, value in old.items() if key in made or key.startswith("ETH")}
        vectors = [{**kept, **vectors[0]}]
    vm.template.remove(name)
    for vector in vectors:
        vm.template.add(name, vector)


@method("one.vm.attach", "is")
def attach(front: Front, caller: Caller, vm_id: int, text: str) -> int:
    vm = _get(front, caller, vm_id)
    template = generic.parsed(text)
    restricted.refuse("vm", caller, template, "DISK")
    vm_attach.attach_disk(front, caller, vm, dict(template.vector("DISK") or {}))
    return vm_id


@method("one.vm.detach", "ii")
def detach(front: Front, caller: Caller, vm_id: int, disk_id: int) -> int:
    vm_attach.detach_disk(front, caller, _get(front, caller, vm_id), disk_id)
    return vm_id


@method("one.vm.attachnic", "is")
def attach_nic(front: Front, caller: Caller, vm_id: int, text: str) -> int:
    vm = _get(front, caller, vm_id)
    template = generic.parsed(text)
    restricted.refuse("vm", caller, template, "NIC")
    vm_attach.attach_nic(front, caller, vm, dict(template.vector("NIC") or {}))
    return vm_id


@method("one.vm.detachnic", "ii")
def detach_nic(front: Front, caller: Caller, vm_id: int, nic_id: int) -> int:
    vm_attach.detach_nic(front, caller, _get(front, caller, vm_id), nic_id)
    return vm_id


@method("one.vm.deploy", "ii|bis")
def deploy(front: Front, caller: Caller, vm_id: int, host_id: int, *ignored: object) -> int:
    vm = _get(front, caller, vm_id, rights.ADMIN)
    host = front.get("host", host_id)
    if host["state"] == infrastructure.OFFLINE:
        raise errors.action("Host is offline, cannot use it to deploy VM")
    if vm["state"] not in (PENDING, HOLD, vm_states.STOPPED, UNDEPLOYED):
        raise errors.action(f"Deploy action is not available for state {vm_states.name(vm)}")
    vm_run.deploy(front, vm, host)
    return vm_id


@method("one.vm.recover", "ii")
def recover(front: Front, caller: Caller, vm_id: int, operation: int) -> int:
    """0 failure, 1 success, 2 retry, 3 delete, 4 delete and recreate, 5 delete from the database."""
    vm = _get(front, caller, vm_id, rights.ADMIN)
    if not 0 <= operation <= 5:
        raise errors.action("Wrong recovery operation code")
    if operation in (3, 5):
        _delete(front, caller, vm)
        return vm_id
    if vm["state"] != ACTIVE or vm_states.is_running(vm) and operation != 4:
        raise errors.action(f"Could not perform a recover operation on VM {vm_id}, wrong state {vm_states.name(vm)}.")
    _recover(front, vm, operation)
    return vm_id


def _delete(front: Front, caller: Caller, vm: Record) -> None:
    if vm["state"] == DONE:
        raise errors.action("VM is already in state DONE")
    vm_states.mark(vm, "recover-delete", caller)
    if vm["history"]:
        vm_run.clean_up(front, vm, "CLEANUP_DELETE")
    else:
        vm_run.finish(front, vm)


def _recover(front: Front, vm: Record, operation: int) -> None:
    name = vm_states.name(vm)
    if operation == 1 and name.endswith("POWEROFF"):
        vm_states.set_state(front, vm, POWEROFF)
    elif operation == 0 and name == "SHUTDOWN_POWEROFF" or operation == 1 and name.startswith("BOOT"):
        vm_states.enter(front, vm, "RUNNING")
    elif operation in (2, 4):
        if vm["history"]:
            vm["history"].pop()
        vm_states.set_state(front, vm, PENDING)


@method("one.vm.monitoring", "i")
def monitoring(front: Front, caller: Caller, vm_id: int) -> str:
    _get(front, caller, vm_id, rights.USE)
    return "<MONITORING_DATA></MONITORING_DATA>"


@method("one.vmpool.monitoring", "i|i")
def pool_monitoring(front: Front, caller: Caller, who: int, seconds: int = -1) -> str:
    return "<MONITORING_DATA></MONITORING_DATA>"


@method("one.vm.resize", "isb")
def resize(front: Front, caller: Caller, vm_id: int, text: str, enforce: bool) -> int:
    vm = _get(front, caller, vm_id)
    template = generic.parsed(text)
    vm_resize.capacity(front, caller, vm, template)
    return vm_id


@method("one.vm.diskresize", "iis")
def disk_resize(front: Front, caller: Caller, vm_id: int, disk_id: int, size: str) -> int:
    vm_resize.disk(front, caller, _get(front, caller, vm_id), disk_id, size)
    return disk_id


@method("one.vm.migrate", "iib|bii")
def migrate(front: Front, caller: Caller, vm_id: int, host_id: int, live: bool, enforce: bool = False,
            datastore_id: int = -1, way: int = 0) -> int:
    """`way` of a VM that is not migrated live: 0 saved, 1 powered off, 2 powered off hard."""
    host = front.get("host", host_id)
    vm_migrate.start(front, caller, _get(front, caller, vm_id, rights.ADMIN), host, live, way)
    return vm_id


@method("one.vm.backup", "iib", versions=("7.4",))
def backup(front: Front, caller: Caller, vm_id: int, datastore_id: int, reset: bool) -> int:
    """Checked as 7.x does; the sandbox has no BACKUP_DS driver yet, so a valid request is refused by its state."""
    vm = front.get("vm", vm_id)
    config: dict[str, str] = vm["backup_config"]
    target = int(config.get("LAST_DATASTORE_ID", "-1")) if datastore_id == -1 else datastore_id
    datastore = front.get("datastore", target)
    if datastore["type"] != datastores.BACKUP:
        raise errors.action("Datastore needs to be of type BACKUP")
    rights.require(caller, rights.ADMIN, vm)
    rights.require(caller, rights.USE, datastore)
    if vm["state"] != POWEROFF and not vm_states.is_running(vm):
        raise errors.action(f"Could not create a new backup for VM {vm_id}, wrong state {vm_states.name(vm)}.")
    raise errors.internal("Could not create a new backup: no backup driver is configured in this sandbox")
