# SPDX-License-Identifier: Apache-2.0
"""A restore point that is complete is recorded, what it replaces goes, and so does everything temporary.

Everything here can be done again by `recover`: it only needs the journal and the catalogue.
"""

from __future__ import annotations

from typing import Optional

from onebackup_driver import (
    catalogue,
    clock,
    cloud,
    errors,
    policy,
    publish,
    records,
    retention,
    states,
    status,
    template_text,
    temporaries,
    units,
    verdict,
)
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.context import Context
from onebackup_driver.journal import Journal
from onebackup_driver.vm import VirtualMachine


def finish(context: Context, journal: Journal, point: RestorePoint) -> None:
    """Record, retain, clean up, and say OK last. Raises FrontEndError or Failed: recover then finishes."""
    oneshot, keep = bool(journal.facts.get("oneshot")), bool(journal.facts.get("keep_backup"))
    machine = _still_there(context, journal.vm_id)
    next_time = _record(context, machine, point) if machine is not None and not oneshot else ""
    context.log.info("Imported app ids: %s", ",".join(map(str, point.app_ids)))
    temporaries.remove(context, journal.run)
    if not oneshot:
        leftovers = _retain(context, journal, point, keep, machine.uid if machine is not None else -1)
        if machine is not None:
            _say_ok(context, journal, point, leftovers, next_time)
    journal.close("done")


def completed(context: Context, run: str, vm_uid: int = -1) -> Optional[RestorePoint]:
    """The complete restore point that a run made, if it got that far."""
    points = catalogue.build(cloud.apps(context), context.trusted_uids(vm_uid))
    return next((point for point in points if point.run == run and not point.problems), None)


def _still_there(context: Context, vm_id: int) -> Optional[VirtualMachine]:
    try:
        machine = cloud.machine(context, vm_id)
    except errors.Refused:
        machine = None
    if machine is None or machine.state.state == states.DONE:
        context.log.warning("VM %s was terminated meanwhile; its restore point is complete and kept", vm_id)
        return None
    return machine


def _record(context: Context, machine: VirtualMachine, point: RestorePoint) -> str:
    """Write BACKUP; when the next backup is, in words (empty: the section does not say)."""
    ended = clock.now()
    text = records.backup_section(machine.backup, point.app_ids, ended, point.vm_app.marketplace_id)
    context.front_end.repeat("one.vm.update", machine.vm_id, text, 1)
    try:
        section = {**(machine.backup or {}), "LAST_BACKUP_TIME": str(ended)}
        rules = policy.read(machine.vm_id, section, context.configuration)
    except errors.Refused:
        return ""
    return verdict.next_backup(rules, context.configuration, ended)


def _retain(context: Context, journal: Journal, point: RestorePoint, keep: bool, vm_uid: int) -> list[str]:
    """Delete (or mark as kept) what the new restore point replaces; what could not be deleted, in words."""
    _delete_rest(context, journal)
    points = catalogue.build(cloud.apps(context), context.trusted_uids(vm_uid))
    problems: list[str] = []
    for old in retention.superseded(points, point):
        try:
            _mark_kept(context, old) if keep else _delete(context, journal, old)
        except (errors.CallRefused, errors.Failed) as error:
            problems.append(f"restore point {old.backup_id} could not be {'marked' if keep else 'deleted'}: {error}")
            context.log.warning("%s", problems[-1])
    return problems


def _delete(context: Context, journal: Journal, old: RestorePoint) -> None:
    """The VMTEMPLATE app goes first: without it there is no restore point, and one that is locked is kept whole."""
    app_ids = [old.backup_id, *(app.app_id for _, app in old.disks if app is not None)]
    journal.note(deleting=app_ids)
    for app_id in app_ids:
        publish.delete_app(context, app_id)
    journal.note(deleting=[])


def _delete_rest(context: Context, journal: Journal) -> None:
    """What a run that died was deleting: no catalogue shows image apps whose VMTEMPLATE app is gone."""
    for app_id in journal.facts.get("deleting", []):
        try:
            publish.delete_app(context, int(app_id))
        except (errors.CallRefused, errors.Failed) as error:
            context.log.warning("App %s could not be deleted: %s", app_id, error)
            return


def _mark_kept(context: Context, old: RestorePoint) -> None:
    text = template_text.render([("ONEBACKUP", {**old.vm_app.tags, "KEEP": "YES"})])
    context.front_end.repeat("one.marketapp.update", old.backup_id, text, 1)


def _say_ok(context: Context, journal: Journal, point: RestorePoint, leftovers: list[str], next_time: str) -> None:
    not_saved = str(journal.facts.get("not_saved", ""))
    message = f"restore point {point.backup_id} of {units.local_time(point.time)}"
    more = {"RUN": journal.run, "RESTORE_POINT": str(point.backup_id)}
    if not_saved:
        more["NOT_SAVED"] = not_saved
        message += f"; not saved: disk {not_saved}"
    if next_time:
        more["NEXT_BACKUP"] = next_time
    if point.vm_app.tags.get("CONSISTENCY") == "PER_DISK":
        message += "; its disks are of different moments"
    if leftovers:
        more["WARNING"] = "; ".join(leftovers)
    status.tell(context, journal.vm_id, records.OK, message, **more)
