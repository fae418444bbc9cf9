# SPDX-License-Identifier: Apache-2.0
"""What a run left that died on another front-end: found by what OpenNebula itself shows, without that run's journal.

Evidence that a run never ended are its temporary objects: a template that carries our tag, or an image that disksaveas
made under a name with the run id. Only with such evidence anything is undone. Image apps without their VMTEMPLATE app
alone are no evidence: a listing may be short, an admin may have deleted it. And a run younger than the grace time may
be alive on the other front-end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Optional

from lxml import etree

from onebackup_driver import (
    app,
    catalogue,
    clock,
    cloud,
    errors,
    journal,
    locks,
    manifest,
    names,
    pool,
    records,
    recover,
    states,
    status,
    xml_values,
)
from onebackup_driver.app import App
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.context import Context
from onebackup_driver.pool_vm import PoolVm
from onebackup_driver.recover import Recovered
from onebackup_driver.xml_values import Vector

_ACTIONS = {states.POWERED_OFF: "poweroff", states.SUSPENDED_STATE: "suspend"}
_ALL = (-2, -1, -1)


@dataclass
class Stray:
    """Objects of one run that no journal here knows. `newest`: when the last one was made. `tag`: what the run noted
    on its template. `evidence`: one of them is surely temporary. `doubtful`: one surely is not (somebody exported an
    app under the app's name), so that removing by name would be wrong."""

    run: str
    vm_id: int = -1
    newest: int = 0
    tag: Vector = field(default_factory=dict)
    evidence: bool = False
    doubtful: str = ""


def everything(
    context: Context,
    at_once: bool = False,
    dry_run: bool = False,
    machines: Optional[list[PoolVm]] = None,
    apps: Optional[list[App]] = None,
) -> list[Recovered]:
    """Undo, or record when its restore point is complete, every run of another front-end that is older than the grace
    time; `at_once` waives it. `machines`, `apps`: all there are, when the caller has just read them.

    Raises FrontEndError.
    """
    latest = clock.now() - (0 if at_once else 3600 * context.configuration.stray_grace_hours)
    apps = cloud.apps(context) if apps is None else apps
    found = find(context, apps)
    old = [stray for stray in found.values() if stray.newest <= latest]
    done = [_one(context, stray, apps, dry_run) for stray in old]
    machines = pool.read(context.front_end).machines if machines is None else machines
    only_said = _said_to_run(context, machines, {stray.run for stray in found.values()}, latest)
    return done + [_only_said(context, machine, dry_run) for machine in only_said]


def find(context: Context, apps: Iterable[App]) -> dict[str, Stray]:
    """Runs with temporary objects that no journal of this front-end knows, by run id."""
    known = {path.stem for path in journal.unfinished(context.journals)}
    found: dict[str, Stray] = {}
    for template in context.front_end.element("one.templatepool.info", *_ALL):
        _look_at_template(context, template, found)
    for image in context.front_end.element("one.imagepool.info", *_ALL):
        _look_at_image(context, image, found)
    for one in apps:
        stray = found.get(one.tags.get("RUN", ""))
        if stray is not None and one.uid == context.own_uid:
            stray.newest = max(stray.newest, one.registered)
    return {run: stray for run, stray in found.items() if stray.evidence and run not in known}


def _look_at_template(context: Context, template: etree._Element, found: dict[str, Stray]) -> None:
    run, tag = _run_of(context, template), xml_values.vector(template.find("TEMPLATE/ONEBACKUP"))
    if not run:
        return
    stray = _note(found, run, template)
    if tag.get("RUN") != run or tag.get("ROLE") != manifest.ROLE_TEMPORARY:
        stray.doubtful = f"template {template.findtext('ID')} has its run id, but no backup made it"
        return
    stray.evidence, stray.tag, stray.vm_id = True, tag, xml_values.whole_number(tag.get("VM_ID", "")) or 0


def _look_at_image(context: Context, image: etree._Element, found: dict[str, Stray]) -> None:
    run = _run_of(context, image)
    if not run:
        return
    stray = _note(found, run, image)
    saved_of = xml_values.number(image, "TEMPLATE/SAVED_VM_ID")
    if saved_of < 0 or image.find("TEMPLATE/FROM_APP") is not None:
        stray.doubtful = f"image {image.findtext('ID')} has its run id, but no backup made it"
    elif xml_values.number(image, "RUNNING_VMS", 0) > 0:
        stray.doubtful = f"image {image.findtext('ID')} is used by a VM"
    else:
        stray.evidence = True
        stray.vm_id = saved_of if stray.vm_id < 0 else stray.vm_id


def _run_of(context: Context, element: etree._Element) -> str:
    own = xml_values.number(element, "UID") == context.own_uid
    return names.run_of_backup(xml_values.text(element, "NAME")) if own else ""


def _note(found: dict[str, Stray], run: str, element: etree._Element) -> Stray:
    stray = found.setdefault(run, Stray(run))
    stray.newest = max(stray.newest, xml_values.number(element, "REGTIME", 0))
    return stray


def _one(context: Context, stray: Stray, apps: list[App], dry_run: bool) -> Recovered:
    what = f"VM {stray.vm_id}: run {stray.run} of another front-end"
    made = catalogue.made_by(apps, stray.run, {context.own_uid})
    reason = stray.doubtful or _damaged(context, stray, apps) or _uploading(made)
    if reason:
        return Recovered(stray.vm_id, f"{what} is left alone: {reason}", untouched=True)
    if dry_run:
        return Recovered(stray.vm_id, f"{what}: would be finished or undone", untouched=True)
    try:
        with locks.vm(context.locks, stray.vm_id, "being recovered"):
            return recover.finish_or_undo(context, _journal(context, stray, apps))
    except locks.Busy as error:
        return Recovered(stray.vm_id, str(error), untouched=True)


def _damaged(context: Context, stray: Stray, apps: list[App]) -> str:
    """A restore point that is there but not good is not ours to delete."""
    point = _point(context, stray, apps)
    return "" if point is None or not point.problems else f"its restore point is damaged: {'; '.join(point.problems)}"


def _uploading(made: list[App]) -> str:
    locked = [one.app_id for one in made if one.state == states.APP_LOCKED]
    return f"app {locked[0]} is still being uploaded" if locked else ""


def _point(context: Context, stray: Stray, apps: list[App]) -> Optional[RestorePoint]:
    owners = context.trusted_uids(_uid(context, stray.vm_id))
    return next((point for point in catalogue.build(apps, owners) if point.run == stray.run), None)


def _journal(context: Context, stray: Stray, apps: list[App]) -> journal.Journal:
    """The journal that the dead run would have had, as far as OpenNebula shows: if we die too, `recover` goes on."""
    tag, point = stray.tag, _point(context, stray, apps)
    of_point = point.vm_app.tags if point is not None else {}
    book = journal.open_new(context.journals, stray.run, "backup", stray.vm_id, tag.get("VM_NAME", ""))
    book.note(
        oneshot="YES" in (tag.get("ONESHOT"), of_point.get("ONESHOT")),
        keep_backup=of_point.get("KEEP_OLDER") == "YES",
        not_saved=of_point.get("NOT_SAVED", ""),
        vm_uid=_uid(context, stray.vm_id),
    )
    book.begin("temporaries")
    action = _brought_down(context, stray)
    if action:
        sequence = xml_values.whole_number(tag.get("SEQUENCE", "")) or 0
        book.begin("power", vm_id=stray.vm_id, action=action, history_sequence=sequence)
    book.begin("apps")
    return book


def _brought_down(context: Context, stray: Stray) -> str:
    """How the run brought its VM down, when it is still as it left it; empty when it is not ours to start."""
    try:
        machine = cloud.machine(context, stray.vm_id)
    except errors.Refused:
        return ""
    action = _ACTIONS.get(machine.state, "")
    same = stray.tag.get("VM_STARTED") == str(machine.started)
    was_running = stray.tag.get("WAS") == str(states.RUNNING)
    return action if same and was_running and action in stray.tag.get("ACTIONS", "").split(",") else ""


def _uid(context: Context, vm_id: int) -> int:
    try:
        return cloud.machine(context, vm_id).uid
    except errors.Refused:
        return -1


def _said_to_run(context: Context, machines: list[PoolVm], runs: set[str], latest: int) -> list[PoolVm]:
    """VMs whose ONEBACKUP says that a backup runs, long ago, of which there is nothing else."""
    known = {path.stem for path in journal.unfinished(context.journals)} | runs
    return [
        machine
        for machine in machines
        if machine.told.get("STATE") == records.RUNNING
        and machine.told.get("RUN", "") not in known
        and (xml_values.whole_number(machine.told.get("TIME", "")) or 0) <= latest
    ]


def _only_said(context: Context, machine: PoolVm, dry_run: bool) -> Recovered:
    vm_id, run = machine.vm_id, machine.told.get("RUN", "")
    if dry_run:
        return Recovered(vm_id, f"VM {vm_id}: would correct ONEBACKUP, which says that a backup runs", untouched=True)
    try:
        with locks.vm(context.locks, vm_id, "being recovered"):
            return _correct(context, machine, run)
    except locks.Busy as error:
        return Recovered(vm_id, str(error), untouched=True)


def _correct(context: Context, machine: PoolVm, run: str) -> Recovered:
    vm_id = machine.vm_id
    point = _point(context, Stray(run, vm_id), cloud.apps(context)) if run else None
    if point is not None and not point.problems and point.vm_id == vm_id:
        stray = Stray(run, vm_id, tag=dict(point.vm_app.tags))
        return recover.finish_or_undo(context, _journal(context, stray, [*_apps_of(context, point)]))
    status.tell(context, vm_id, records.ERROR, "the backup was interrupted; nothing older was lost", RUN=run)
    return Recovered(vm_id, f"VM {vm_id}: ONEBACKUP said that a backup runs, but none does: corrected")


def _apps_of(context: Context, point: RestorePoint) -> list[app.App]:
    return [cloud.one_app(context, app_id) for app_id in point.app_ids]
