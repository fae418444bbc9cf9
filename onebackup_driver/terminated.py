# SPDX-License-Identifier: Apache-2.0
"""The restore points of terminated VMs, by the site's rule `terminated_vms`: keep, keep N days, delete.

Found through the catalogue; deleted one by one under the VM's lock, each with a journal whose undo is the rest of the
deletion, so that one that was interrupted leaves no app without its restore point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from onebackup_driver import (
    catalogue,
    clock,
    cloud,
    errors,
    journal,
    locks,
    publish,
    recover,
    site_rules,
    states,
    undo,
    units,
    vm,
    xml_values,
)
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.context import Context

_DAY_S = 24 * 3600


def expires_at(machine: vm.VirtualMachine, rule: str) -> Optional[float]:
    """When (seconds since the epoch) the restore points of a DONE VM go; None when they stay or nobody knows."""
    days, ended = site_rules.terminated_rule(rule), xml_values.number(machine.element, "ETIME", 0)
    if machine.state.state != states.DONE or ended <= 0 or days is None or days == float("inf"):
        return None
    return ended + days * _DAY_S


@dataclass(frozen=True)
class Swept:
    """What became of the restore points of one terminated VM; nothing is said of those that stay."""

    vm_id: int
    good: bool
    message: str


def sweep(context: Context, alive: set[int]) -> list[Swept]:
    """Delete what is over its time of all VMs but those in `alive`, which need not be looked at: they are not DONE.
    For the timer: a hook may have been lost. Raises FrontEndError."""
    if site_rules.terminated_rule(context.configuration.terminated_vms) == float("inf"):
        return []
    apps = cloud.apps(context)
    points = catalogue.build(apps, {app.uid for app in apps})  # whom to trust is asked for each VM
    swept: list[Swept] = []
    for vm_id in sorted({point.vm_id for point in points} - alive - {-1}):
        try:
            swept += [Swept(vm_id, True, line) for line in _remove(context, vm_id)]
        except locks.Busy:
            pass  # the next run looks again
        except (errors.Error, OSError) as error:
            what = f"its restore points could not be deleted: {errors.in_words(error)}"
            unlocking = undo.unlock_command(error)
            what += f"; to put it right: {unlocking} && onebackup run" if unlocking else ""
            swept.append(Swept(vm_id, False, what))
    return swept


def remove(context: Context, vm_id: int) -> str:
    """Delete the restore points of one terminated VM if the site's rule says so; what was done, in words.

    Raises Refused, FrontEndError or Failed; what was begun is journalled.
    """
    return "; ".join(_remove(context, vm_id)) or f"VM {vm_id}: its restore points are kept"


def _remove(context: Context, vm_id: int) -> list[str]:
    with locks.vm(context.locks, vm_id, "having its restore points deleted"):
        recover.leftovers_of(context, vm_id)
        try:
            machine = cloud.machine(context, vm_id)
        except errors.Refused:
            return []  # when it ended, nobody knows any more: kept
        expires = expires_at(machine, context.configuration.terminated_vms)
        if expires is None or expires > clock.now():
            return []
        return [_delete(context, point) for point in _expired(context, machine)]


def _expired(context: Context, machine: vm.VirtualMachine) -> list[RestorePoint]:
    points = catalogue.build(cloud.apps(context), context.trusted_uids(machine.uid))
    return [point for point in catalogue.of_vm(points, machine.vm_id, machine.started) if not point.kept]


def _delete(context: Context, point: RestorePoint) -> str:
    # Not what it names, only what is its own: the owner of a restore point could name apps of another VM in it.
    app_ids = [app.app_id for _, app in point.disks if app is not None] + [point.backup_id]
    book = journal.open_new(context.journals, point.run, "removal", point.vm_id, point.vm_app.tags.get("VM_NAME", ""))
    book.begin("removal", app_ids=app_ids)
    publish.remove_point(context, point.run, app_ids)
    book.close("done")
    return f"the VM was terminated: restore point {point.backup_id} of {units.local_time(point.time)} deleted"
