# SPDX-License-Identifier: Apache-2.0
"""A VM is POWEROFF: if it is due, or will be soon, it is backed up now, at no downtime.

The event comes for every VM, for our own runs (once for each disk) and for the stock command's. A run of ours has a
journal from before it powers the VM off until the VM is back; so has a run that died, whose VM is `recover`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onebackup_driver.hooks import payload
from onebackup_driver.hooks.payload import Payload

if TYPE_CHECKING:
    from pathlib import Path


def handle(hint: Payload) -> str:
    """Queue the VM when this is the moment; what was done, in words."""
    vm_id, element = payload.vm_id(hint), payload.tree(hint)
    if vm_id is None:
        return "the VM's id is unknown, left to the timer"
    if element is not None and element.find("USER_TEMPLATE/BACKUP") is None:
        return f"VM {vm_id} has no BACKUP section"
    return _look_at(vm_id)


def _look_at(vm_id: int) -> str:
    from onebackup_driver import clock, cloud, errors, policy, queue, records, states
    from onebackup_driver.hooks import asking

    context = asking.context()
    machine = cloud.machine(context, vm_id)
    if machine.state != states.POWERED_OFF:
        return f"VM {vm_id} is {machine.state} by now"
    if _worked_on(context.journals, vm_id):
        return f"VM {vm_id} is off for a run of ours"
    if machine.element.findtext("USER_TEMPLATE/ONEBACKUP/STATE") == records.RUNNING:
        return f"VM {vm_id} is being backed up"
    try:
        rules = policy.read(vm_id, machine.backup, context.configuration)
    except errors.Refused as error:
        return str(error)
    due = policy.due_soon(rules, clock.now(), context.configuration.opportunistic_fraction)
    if not due.due:
        return f"VM {vm_id} is not due soon"
    line = asking.queued(context, machine, queue.OFF, "the VM was powered off")
    asking.see_to_worker(context)
    return line


def _worked_on(journals: Path, vm_id: int) -> bool:
    from onebackup_driver import journal

    for path in journal.unfinished(journals):
        try:
            if journal.load(path).vm_id == vm_id:
                return True
        except journal.Unreadable:
            pass  # recover speaks of it
    return False
