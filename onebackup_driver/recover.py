# SPDX-License-Identifier: Apache-2.0
"""What a dead run left is finished or undone; this can itself die at any point and be run again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from onebackup_driver import cloud, errors, files, finishing, journal, locks, records, status, undo, xml_values
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.context import Context
from onebackup_driver.journal import Journal

#: No writer of a journal takes this long.
_STALE_S = 3600


@dataclass(frozen=True)
class Recovered:
    """What became of one unfinished run: `good` is False when somebody has to look at it. `untouched`: it was left
    alone, because it goes on or for another reason that is in the message."""

    vm_id: int
    message: str
    good: bool = True
    untouched: bool = False


def everything(context: Context, dry_run: bool = False) -> list[Recovered]:
    """Recover every run whose process is dead; a run that still goes on is named and left alone."""
    if not dry_run:
        files.remove_stale(context.journals, _STALE_S)
    return [_one(context, path, dry_run) for path in journal.unfinished(context.journals)]


def leftovers_of(context: Context, vm_id: int) -> None:
    """Recover what a dead run left of one VM, whose lock the caller holds. Raises NeedsAttention when it cannot be."""
    for path in journal.unfinished(context.journals):
        try:
            book = journal.load(path)
        except journal.Unreadable as error:
            context.log.warning("%s", error)
            continue
        if book.vm_id == vm_id:
            found = finish_or_undo(context, book)
            context.log.warning("%s", found.message)
            if not found.good and not book.facts.get("complete"):  # what is complete keeps no new one from being made
                what, _, command = found.message.partition("; to put it right: ")
                raise errors.NeedsAttention(what, command or "onebackup recover")


def _one(context: Context, path: Path, dry_run: bool) -> Recovered:
    try:
        book = journal.load(path)
        with locks.vm(context.locks, book.vm_id, "being recovered"):
            if not path.exists():
                return Recovered(book.vm_id, f"VM {book.vm_id}: its run {book.run} has just ended", untouched=True)
            book = journal.load(path)
            if dry_run:
                return Recovered(book.vm_id, _intention(context, book))
            return finish_or_undo(context, book)
    except locks.Busy as error:
        return Recovered(book.vm_id, str(error), untouched=True)
    except journal.Unreadable as error:
        return Recovered(-1, str(error), good=False)
    except OSError as error:
        what = f"VM {book.vm_id}: its run {book.run} cannot be recovered now: {errors.in_words(error)}"
        return Recovered(book.vm_id, f"{what}; to put it right: onebackup recover", good=False)


def finish_or_undo(context: Context, book: Journal) -> Recovered:
    """Finish a run whose restore point is complete, undo any other. The caller holds the VM's lock."""
    try:
        point = _complete(context, book)
        if point is not None:
            if not book.facts.get("complete"):  # it died before it could note it; from here only forwards
                book.note(complete=True, app_ids=point.app_ids)
            finishing.finish(context, book, point, late=True)
            return _finished(context, book, point)
        finishing.delete_rest(context, book, int(book.facts.get("vm_uid", -1)))
        if book.facts.get("complete"):
            finishing.fall_back(context, book)
    except (errors.FrontEndError, errors.Failed) as error:
        first = undo.unlocking(book.vm_id, error)
        what = f"VM {book.vm_id}: its run {book.run} cannot be finished: {error}"
        message = f"{what}; to put it right: {first}onebackup recover"
        return Recovered(book.vm_id, message, good=False)
    if book.facts.get("released"):
        book.close("done")
        return Recovered(
            book.vm_id, f"a restore had got as far as starting VM {book.facts.get('vm_id')}: left as it is"
        )
    return _undo(context, book)


def _undo(context: Context, book: Journal) -> Recovered:
    problems = undo.everything(context, book)
    told = bool(problems) or _told(context, book)
    book.close("undone" if told and not problems else "attention")
    if problems:
        what = f"VM {book.vm_id}: a dead run could not be undone: {undo.reasons(problems)}"
        message = f"{what}; to put it right: {undo.command(problems)}"
        return Recovered(book.vm_id, message, good=False)
    after = f", {_state(context, book)}" if book.kind == "backup" else ""
    if not told:
        after += "; ONEBACKUP of the VM does not say so yet, it cannot be written"
    return Recovered(book.vm_id, f"VM {book.vm_id}: undid the {book.kind} of a process that died{after}")


def _told(context: Context, book: Journal) -> bool:
    """Correct ONEBACKUP; False when it has to be tried again."""
    if book.kind != "backup" or book.facts.get("oneshot"):
        return True
    try:
        if not status.says_run(context, book.vm_id, book.run):
            return True
    except errors.FrontEndError:
        return False
    message = "the backup was interrupted and has been undone"
    if book.facts.get("complete"):
        message = "the new restore point was deleted by somebody before its backup had ended"
    return status.tell(context, book.vm_id, records.ERROR, message, RUN=book.run)


def _finished(context: Context, book: Journal, point: RestorePoint) -> Recovered:
    what = f"VM {book.vm_id}: restore point {point.backup_id} of a run that died was complete, recorded"
    left = book.facts.get("deleting") or []
    if not left:
        return Recovered(book.vm_id, what)
    locked = _locked(context, left)
    why = " (locked)" if locked else f" (see onemarketapp show {left[0]})"
    command = " && ".join([*(f"onemarketapp unlock {app_id}" for app_id in locked), "onebackup recover"])
    apps = ", ".join(map(str, left))
    message = f"{what}; apps {apps} of an older one could not be deleted{why}; to put it right: {command}"
    return Recovered(book.vm_id, message, good=False)


def _locked(context: Context, app_ids: list[int]) -> list[int]:
    """Those of the apps that somebody has locked."""
    try:
        apps = cloud.apps(context)
    except errors.FrontEndError:
        return []
    return [app.app_id for app in apps if app.app_id in app_ids and xml_values.number(app.element, "LOCK/LOCKED", 0)]


def _complete(context: Context, book: Journal) -> Optional[RestorePoint]:
    if book.kind != "backup":
        return None
    point = finishing.completed(context, book.run, int(book.facts.get("vm_uid", -1)))
    if point is None and book.facts.get("complete") and not _deleted_by_somebody(context, book):
        raise errors.Failed("its restore point was complete and does not show any more; look at: onemarketapp list")
    return point


def _deleted_by_somebody(context: Context, book: Journal) -> bool:
    """Whether an app of the restore point is surely gone: no listing shows it, and asked by its id it is unknown."""
    listed = {app.app_id for app in cloud.apps(context)}
    for app_id in book.facts.get("app_ids", []):
        try:
            cloud.one_app(context, int(app_id))
        except errors.NoSuchObject:
            if int(app_id) not in listed:
                return True
    return False


def _intention(context: Context, book: Journal) -> str:
    point = _complete(context, book)
    if point is not None:
        return f"VM {book.vm_id}: would record restore point {point.backup_id} of a run that died"
    steps = ", ".join(step.kind for step in reversed(book.steps) if not step.ended) or "nothing"
    return f"VM {book.vm_id}: would undo a {book.kind} of a process that died: {steps}"


def _state(context: Context, book: Journal) -> str:
    try:
        return f"the VM is {cloud.machine(context, book.vm_id).state}"
    except errors.Error:
        return "the VM is gone"
