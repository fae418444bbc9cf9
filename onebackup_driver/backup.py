# SPDX-License-Identifier: Apache-2.0
"""One backup run, from the lock to the record (design: docs/architecture.md)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Optional

from lxml import etree

from onebackup_driver import (
    clock,
    errors,
    finishing,
    locks,
    manifest,
    modes,
    names,
    planning,
    power,
    progress,
    publish,
    records,
    recover,
    sagas,
    saving,
    status,
    temporaries,
    trust,
    units,
)
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.context import Context
from onebackup_driver.journal import Journal
from onebackup_driver.planning import Plan, Request
from onebackup_driver.xml_values import Vector


@dataclass(frozen=True)
class Outcome:
    """What became of a request: `point` is None when nothing was due; `down_s` is None when the VM was not down."""

    plan: Plan
    point: Optional[RestorePoint]
    down_s: Optional[float] = None


@dataclass
class _Saved:
    images: dict[int, etree._Element]
    mode: modes.Mode
    moment: int
    down_s: Optional[float] = None


def run(context: Context, vm_id: int, request: Request) -> Outcome:
    """Back one VM up if it is due. Raises Refused (untouched), Failed (undone) or NeedsAttention."""
    with locks.vm(context.locks, vm_id, "being backed up"):
        recover.leftovers_of(context, vm_id)
        plan = planning.make(context, vm_id, request)
        if not planning.goes_on(plan):
            return Outcome(plan, None)
        size_mb = sum(disk.size_mb for disk in plan.disks)
        with progress.of_vm(context.where.progress, context.log, vm_id, plan.machine.name, size_mb):
            return _carry_out(context, plan)


def _carry_out(context: Context, plan: Plan) -> Outcome:
    run_id, machine, request = uuid.uuid4().hex, plan.machine, plan.request
    with sagas.run(context, "backup", run_id, machine.vm_id, machine.name, tell=not request.oneshot) as book:
        book.note(
            oneshot=request.oneshot,
            keep_backup=request.keep_backup,
            vm_uid=machine.uid,
            not_saved=",".join(str(disk_id) for disk_id in plan.not_saved),
        )
        _tell(context, plan, "saving the disks", run_id)
        name = names.backup(machine.name, units.compact_time(clock.now()), run_id)
        saved = _save(context, plan, book, name)
        _tell(context, plan, f"uploading {len(saved.images)} disk(s)", run_id)
        _publish(context, plan, book, name, saved)
        point = finishing.completed(context, run_id)  # still ours: an owner could have written the run id elsewhere
        if point is None:
            raise errors.Failed(f"the restore point of VM {machine.vm_id} does not show in the marketplace")
        book.note(complete=True, app_ids=point.app_ids)
        _give_to_owner(context, plan, point)
        finishing.finish(context, book, point)
    return Outcome(plan, point, saved.down_s)


def _save(context: Context, plan: Plan, book: Journal, name: str) -> _Saved:
    context.log.info("Saving VM as template")
    book.begin("temporaries")
    template_id = saving.save_template(context, plan.machine, name, _temporary_tag(plan, book))
    book.note(template_id=template_id)
    for number, mode in enumerate(plan.modes):
        try:
            return _save_in_mode(context, plan, book, name, mode, template_id)
        except errors.Failed as error:
            if mode.name != "LIVE" or number + 1 == len(plan.modes):
                raise
            context.log.warning("LIVE is not possible: %s; trying %s", error, plan.modes[number + 1].name)
            temporaries.remove_images(context, book.run)
    raise AssertionError("a plan has at least one mode")


def _save_in_mode(context: Context, plan: Plan, book: Journal, name: str, mode: modes.Mode, template_id: int) -> _Saved:
    for reason in mode.passed_over:
        context.log.warning("%s; using %s", reason, mode.name)
    machine, step, began = plan.machine, None, clock.monotonic()
    if mode.action:
        power.prove_as_planned(context, machine)
        context.log.info("Powering off VM" if mode.action == "poweroff" else "Suspending VM")
        step = book.begin("power", vm_id=machine.vm_id, action=mode.action, history_sequence=machine.history_sequence)
        power.bring_down(context, step, machine, mode)
    before = clock.now()
    images = _save_disks(context, plan, name, mode)
    # A guest that goes on is shown from when the first disk is copied: what it did after that is not surely in it.
    saved = _Saved(images, mode, before if mode.name == "LIVE" else clock.now())
    saving.add_disks(context, template_id, saved.images)
    if step is not None:
        context.log.info("Powering on VM")
        power.resume(context, book, step, mode.rest)
        book.end(step)
        saved.down_s = clock.monotonic() - began
        context.log.info("VM was down for %s", units.duration_in_words(saved.down_s))
    return saved


def _save_disks(context: Context, plan: Plan, name: str, mode: modes.Mode) -> dict[int, etree._Element]:
    context.log.info("Processing VM disks")
    images = {}
    for disk in plan.machine.disks:
        if disk in plan.disks:
            context.log.info("Adding and saving regular disk")
            images[disk.disk_id] = saving.save_disk(context, plan.machine, disk, name, mode.rest)
        elif disk.disk_id in plan.not_saved:
            context.log.info("Disk %s is not saved: %s", disk.disk_id, plan.not_saved[disk.disk_id])
        else:
            context.log.info("Adding CDROM disk")
    for disk_id in plan.machine.snapshot_disk_ids:
        context.log.warning("Disk %s has snapshots: it is saved as it is now, without them", disk_id)
    if mode.name != "LIVE":
        saving.prove_undisturbed(context, plan.machine, mode.rest)
    context.log.info("Processing VM NICs")
    context.log.info("Updating VM Template")
    return images


def _publish(context: Context, plan: Plan, book: Journal, name: str, saved: _Saved) -> None:
    machine, market = plan.machine, plan.marketplace.marketplace_id
    tag = manifest.tags(machine, book.run, manifest.ROLE_DISK, saved.moment)
    context.log.info("Importing template %s to marketplace %s", book.facts["template_id"], market)
    context.log.info("Processing VM disks")
    book.begin("apps")
    started = publish.image_apps(context, plan.marketplace, name, plan.version, tag, saved.images, list(plan.disks))
    context.log.info("Processing VM NICs")
    context.log.info("Creating VM app")
    context.log.info("Waiting for image upload")
    disks = []
    for disk, app in zip(plan.disks, started):
        ready = publish.await_upload(context, app, saved.images[disk.disk_id], plan.marketplace)
        context.log.info("Verified app %s: %s, MD5 %s", ready.app_id, units.size_in_words(ready.size_mb), ready.md5)
        disks.append(publish.saved_disk(disk, ready))
    publish.vm_app(context, market, name, plan.version, _vm_tag(plan, book, saved), machine, disks)


def _temporary_tag(plan: Plan, book: Journal) -> Vector:
    machine = plan.machine
    tag = manifest.tags(machine, book.run, manifest.ROLE_TEMPORARY, clock.now())
    tag.update(WAS=str(machine.state), SEQUENCE=str(machine.history_sequence))
    tag.update(ACTIONS=",".join(mode.action for mode in plan.modes if mode.action))
    if plan.request.oneshot:
        tag["ONESHOT"] = "YES"
    return tag


def _vm_tag(plan: Plan, book: Journal, saved: _Saved) -> Vector:
    tag = manifest.tags(plan.machine, book.run, manifest.ROLE_VM, saved.moment)
    tag.update(MODE=saved.mode.name, CONSISTENCY=saved.mode.consistency)
    if plan.not_saved:
        tag["NOT_SAVED"] = ",".join(str(disk_id) for disk_id in plan.not_saved)
    if plan.request.oneshot:
        tag["ONESHOT"] = "YES"
    if plan.request.keep_backup:
        tag["KEEP_OLDER"] = "YES"
    return tag


def _give_to_owner(context: Context, plan: Plan, point: RestorePoint) -> None:
    if context.configuration.app_owner != "vm_owner":
        return
    try:
        trust.put_seal(context, point.backup_id)
    except (errors.CallRefused, errors.Failed, OSError) as error:
        reason = errors.in_words(error)
        context.log.warning("App %s could not be sealed and stays ours: %s", point.backup_id, reason)
        return
    for app_id in point.app_ids:
        try:
            context.front_end.repeat("one.marketapp.chown", app_id, plan.machine.uid, plan.machine.gid)
        except errors.CallRefused as error:
            context.log.warning("App %s stays ours, it could not be given to the VM's owner: %s", app_id, error)
            return  # the VMTEMPLATE app, given last, must not belong to another user than a disk of it


def _tell(context: Context, plan: Plan, progress: str, run_id: str) -> None:
    if not plan.request.oneshot:
        status.tell(context, plan.machine.vm_id, records.RUNNING, "a backup is running", PROGRESS=progress, RUN=run_id)


def summary(outcome: Outcome) -> str:
    """One line for the admin."""
    vm_id = outcome.plan.machine.vm_id
    if outcome.point is None:
        due_at = units.local_time(outcome.plan.due.at)
        return f"VM {vm_id}: not due until {due_at} ({outcome.plan.due.reason}); to back it up now: --force"
    point = outcome.point
    down = "the VM was not down" if outcome.down_s is None else f"down for {units.duration_in_words(outcome.down_s)}"
    missing = f", not saved: disk {point.vm_app.tags['NOT_SAVED']}" if point.vm_app.tags.get("NOT_SAVED") else ""
    return (
        f"VM {vm_id}: restore point {point.backup_id} in marketplace {point.vm_app.marketplace_id},"
        f" {len(point.disks)} disk(s), {units.size_in_words(point.size_mb)}, {down}{missing}"
    )
