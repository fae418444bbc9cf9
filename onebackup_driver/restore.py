# SPDX-License-Identifier: Apache-2.0
"""A restore point becomes a VM again."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Callable, Optional

from onebackup_driver import (
    clock,
    cloud,
    errors,
    granted,
    images,
    locks,
    names,
    offered,
    reborn,
    sagas,
    states,
    template_text,
    units,
    unpacking,
    waiting,
)
from onebackup_driver.context import Context
from onebackup_driver.journal import Journal
from onebackup_driver.source import Source
from onebackup_driver.vm import VirtualMachine
from onebackup_driver.xml_values import Attribute


@dataclass(frozen=True)
class Request:
    """What the caller asked for. `datastore`: id or name of an image datastore."""

    datastore: str
    name: str = ""
    start: bool = True
    wait: bool = True
    keep_ip: bool = True
    keep_nic: bool = True


def run(context: Context, choose: Callable[[], Source], lock_vm_id: int, request: Request) -> int:
    """Restore; the id of the new VM. `choose` is called under the lock of the VM that is restored.

    Raises Refused (untouched), Failed (everything it made was removed) or NeedsAttention.
    """
    with locks.vm(context.locks, lock_vm_id, "being restored"):
        context.log.info("Reading backup information")
        source = choose()
        datastore = images.datastore(context, request.datastore)
        unpacking.check(context, source, datastore)
        offered.check_disks(disk.app.source for disk in source.disks)
        run_id = uuid.uuid4().hex
        with sagas.run(context, "restore", run_id, source.vm_id, source.vm_name, tell=False) as book:
            return _restore(context, book, source, datastore, request)


def _restore(context: Context, book: Journal, source: Source, datastore_id: int, request: Request) -> int:
    context.log.info("Restoring VM %s from saved appliance %s", source.vm_id, source.backup_id)
    book.begin("restored")
    name = names.restored(request.name or source.vm_name, book.run)
    made = images.make(context, source, datastore_id, name)
    template_id = _template(context, source, made, name, book.run, request)
    context.log.info("Backup restored, VM template: [%s], images: %s", template_id, made)
    context.log.info("Instantiating the template [%s]", template_id)
    vm_name = names.safe(request.name or source.vm_name)
    vm_id = _instantiate(context, template_id, vm_name)
    book.note(vm_id=vm_id)
    reborn.write_user_attributes(context, source, vm_id)
    reborn.give_back_ownership(context, source, vm_id, template_id, made)
    if request.start:
        book.note(released=True)
        _release(context, vm_id)
        if request.wait:
            _await_running(context, vm_id)
    book.close("done")
    return vm_id


def _template(context: Context, source: Source, made: list[int], name: str, run: str, request: Request) -> int:
    note = {
        "STATE": "RESTORED",
        "RUN": run,
        "RESTORE_POINT": str(source.backup_id),
        "TIME": str(clock.now()),
        "MESSAGE": f"restored from restore point {source.backup_id} of {units.local_time(source.time)}",
    }
    attributes = reborn.template(context, source, made, keep_ip=request.keep_ip, keep_nic=request.keep_nic)
    if source.machine is not None:

        def allocate(wanted: list[Attribute]) -> int:
            text = template_text.render([("NAME", name), ("ONEBACKUP", note), *wanted])
            return cloud.create(context, "template", name, "one.template.allocate", text)

        return granted.without_restricted(context, attributes, allocate)
    text = template_text.render([("NAME", name), ("ONEBACKUP", note)])
    template_id = cloud.create(context, "template", name, "one.template.allocate", f"{source.stock_template}\n{text}")
    context.front_end.call("one.template.update", template_id, template_text.render(attributes), 1)
    if not request.keep_nic:
        reborn.drop_nics(context, template_id)
    return template_id


def _instantiate(context: Context, template_id: int, vm_name: str) -> int:
    try:
        return int(context.front_end.call("one.template.instantiate", template_id, vm_name, True, "", False))
    except errors.CallRefused as error:
        raise errors.Failed(f"no VM can be made from the restored template: {error}") from error
    except errors.OutcomeUnknown:
        found = reborn.made_from(context, template_id)
        if found is None:
            raise
        return found


def _release(context: Context, vm_id: int) -> None:
    try:
        context.front_end.call("one.vm.action", "release", vm_id)
    except errors.CallRefused as error:
        raise errors.Failed(f"the restored VM {vm_id} cannot be started: {error}") from error
    except errors.OutcomeUnknown:
        context.log.warning("No answer to release of VM %s, looking whether it was carried out", vm_id)
        if cloud.machine(context, vm_id).state.state == states.HOLD:
            context.front_end.call("one.vm.action", "release", vm_id)


def _await_running(context: Context, vm_id: int) -> None:
    def look() -> Optional[VirtualMachine]:
        machine = cloud.machine(context, vm_id)
        bad = machine.state.lcm_state in states.FAILURE_LCM_STATES or machine.state.state in (
            states.CLONING_FAILURE,
            states.DONE,
        )
        if bad:
            reason = machine.error_text or "the front-end gives no reason"
            raise errors.Failed(f"the restored VM {vm_id} went to {machine.state}: {reason}; {_log(vm_id)}")
        return machine if machine.state == states.RUNNING else None

    waiting.until(look, context.timeouts.boot_s, f"the restored VM {vm_id} did not get to RUNNING", option="boot_s")


def _log(vm_id: int) -> str:
    return f"more is in /var/log/one/{vm_id}.log"
