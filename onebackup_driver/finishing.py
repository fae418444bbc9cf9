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
    xml_values,
)
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.context import Context
from onebackup_driver.journal import Journal
from onebackup_driver.vm import VirtualMachine


def finish(context: Context, journal: Journal, point: RestorePoint, late: bool = False) -> None:
    """Record, retain, clean up, and say OK last. Raises FrontEndError or Failed: recover then finishes.

    `late`: there may be newer restore points of the VM by now, whose records must stay.
    When half an older restore point could not be deleted, its apps stay in the journal for recover to try again.
    """
    oneshot, keep = bool(journal.facts.get("oneshot")), bool(journal.facts.get("keep_backup"))
    outcome, machine = "done", _still_there(context, journal.vm_id)
    tells = machine is not None and not oneshot and not (late and _has_newer(context, machine, point))
    next_time = _record(context, machine, point) if machine is not None and tells else ""
    context.log.info("Imported app ids: %s", ",".join(map(str, point.app_ids)))
    temporaries.remove(context, journal.run)
    if not oneshot:
        leftovers = _retain(context, journal, point, keep, machine.uid if machine is not None else -1)
        if machine is not None and tells:
            _say_ok(context, journal, point, leftovers, next_time)
        outcome = "attention" if journal.facts.get("deleting") else "done"
    journal.close(outcome)


def completed(context: Context, run: str, vm_uid: int = -1) -> Optional[RestorePoint]:
    """The complete restore point that a run made, if it got that far."""
    points = catalogue.build(cloud.apps(context), context.trusted_uids(vm_uid))
    return next((point for point in points if point.run == run and not point.problems), None)


def _still_there(context: Context, vm_id: int) -> Optional[VirtualMachine]:
    machine = cloud.machine_or_none(context, vm_id)
    if machine is None or machine.state.state == states.DONE:
        context.log.warning("VM %s was terminated meanwhile; its restore point is complete and kept", vm_id)
        return None
    return machine


def fall_back(context: Context, journal: Journal) -> None:
    """The new restore point is gone after it was recorded: BACKUP names the newest one that is there again."""
    machine = _still_there(context, journal.vm_id)
    if machine is None:
        return
    points = catalogue.build(cloud.apps(context), context.trusted_uids(machine.uid))
    good = [point for point in catalogue.of_vm(points, machine.vm_id, machine.started) if not point.problems]
    ours = ",".join(map(str, journal.facts.get("app_ids", [])))
    if good and (machine.backup or {}).get("MARKETPLACE_APP_IDS") == ours:
        newest = good[-1]
        text = records.backup_section(machine.backup, newest.app_ids, newest.time, newest.vm_app.marketplace_id)
        context.front_end.repeat("one.vm.update", machine.vm_id, text, 1)


def _has_newer(context: Context, machine: VirtualMachine, point: RestorePoint) -> bool:
    points = catalogue.build(cloud.apps(context), context.trusted_uids(machine.uid))
    newer = [found for found in catalogue.of_vm(points, point.vm_id, point.vm_started) if not found.problems]
    return any(found.backup_id > point.backup_id and not found.kept for found in newer)


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
    points = catalogue.build(cloud.apps(context), context.trusted_uids(vm_uid))
    if point.backup_id not in [found.backup_id for found in points if not found.problems]:
        raise errors.Failed(f"restore point {point.backup_id} was complete and is not any more; {_begun(journal)}")
    problems: list[str] = []
    for old in retention.superseded(points, point):
        try:
            _mark_kept(context, old) if keep else _delete(context, journal, old)
        except (errors.CallRefused, errors.Failed) as error:
            problems.append(f"restore point {old.backup_id} could not be {'marked' if keep else 'deleted'}: {error}")
            context.log.warning("%s", problems[-1])
    return problems + delete_rest(context, journal, vm_uid)


def _begun(journal: Journal) -> str:
    begun = ", ".join(map(str, journal.facts.get("deleting", [])))
    return f"what it replaces was being deleted before that: app {begun}" if begun else "nothing older was deleted"


def _delete(context: Context, journal: Journal, old: RestorePoint) -> None:
    """The VMTEMPLATE app goes first: without it there is no restore point, and one that is locked is kept whole."""
    apps = [old.vm_app, *(app for _, app in old.disks if app is not None)]
    locked = [app.app_id for app in apps if xml_values.number(app.element, "LOCK/LOCKED", 0)]
    if locked:
        raise errors.Failed(f"app {locked[0]} is locked, so all of it is kept; see: onemarketapp unlock {locked[0]}")
    before = journal.facts.get("deleting", [])
    journal.note(deleting=[*before, *(app.app_id for app in apps)])
    try:
        publish.delete_app(context, old.backup_id)
    except (errors.CallRefused, errors.Failed):
        journal.note(deleting=before)
        raise
    for app in apps[1:]:
        publish.delete_app(context, app.app_id)


def delete_rest(context: Context, journal: Journal, vm_uid: int) -> list[str]:
    """See gone what was being deleted, also by a run that died, and try again what is not: no catalogue shows image
    apps whose VMTEMPLATE app is gone. What stays, in words."""
    if not journal.facts.get("deleting"):
        return []
    problems = []
    for app_id in _half_deleted(context, journal, vm_uid):
        try:
            publish.delete_app(context, app_id)
        except (errors.CallRefused, errors.Failed) as error:
            problems.append(f"app {app_id} of an older restore point could not be deleted: {error}")
            context.log.warning("%s", problems[-1])
    journal.note(deleting=_half_deleted(context, journal, vm_uid))
    return problems


def _half_deleted(context: Context, journal: Journal, vm_uid: int) -> list[int]:
    apps = cloud.apps(context)
    whole = {
        app_id
        for point in catalogue.build(apps, context.trusted_uids(vm_uid))
        for app_id in point.app_ids
        if not point.problems
    }
    present = {app.app_id for app in apps} - whole
    return [app_id for app_id in dict.fromkeys(map(int, journal.facts["deleting"])) if app_id in present]


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
    try:
        status.write(context, journal.vm_id, records.OK, message, **more)
    except errors.NoSuchObject:
        if not status.is_gone(context, journal.vm_id):
            raise
        context.log.warning("VM %s is gone; its restore point is complete and kept", journal.vm_id)
