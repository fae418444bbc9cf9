# SPDX-License-Identifier: Apache-2.0
"""The frame of every run: a journal, and on any failure or signal the undo of what was begun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from onebackup_driver import cloud, errors, journal, records, signals, status, undo
from onebackup_driver.context import Context
from onebackup_driver.journal import Journal


@contextmanager
def run(context: Context, kind: str, run_id: str, vm_id: int, vm_name: str, tell: bool) -> Iterator[Journal]:
    """Journal a run. On an error everything begun is undone, `tell` says whether ONEBACKUP reports it, and the error
    goes on as Failed (undone) or NeedsAttention. Once `facts["complete"]` is noted, nothing is undone any more."""
    try:
        book = journal.open_new(context.journals, run_id, kind, vm_id, vm_name)
    except OSError as error:
        reason = errors.in_words(error)
        what = f"cannot write the journal in {context.journals}: {reason}"
        raise errors.Refused(f"{what}; nothing was touched, VM {vm_id} is as it was") from error
    try:
        yield book
    except BaseException as error:
        with signals.deferred():
            report = _break_off(context, book, error, tell)
            if report is not None:
                raise report from error  # inside: a signal that waits must not hide it
        raise


def _break_off(context: Context, book: Journal, error: BaseException, tell: bool) -> errors.Error | None:
    if book.facts.get("complete"):
        _close(context, book, "attention")
        return errors.NeedsAttention(
            f"the restore point of VM {book.vm_id} is complete but the run could not be ended"
            f" ({errors.in_words(error)}); VM {book.vm_id} is {_state(context, book.vm_id)}",
            undo.unlocking(book.vm_id, error) + "onebackup recover",
        )
    what = errors.in_words(error)
    context.log.critical("%s", what)
    problems = undo.everything(context, book)
    now = f"VM {book.vm_id} is {_state(context, book.vm_id)}, " if book.kind == "backup" else ""
    told = True
    if tell:
        more = {"RUN": book.run, **({"WARNING": f"left to do: {undo.command(problems)}"} if problems else {})}
        told = status.tell(context, book.vm_id, records.ERROR, f"{what}; {now}nothing older was lost", **more)
    _close(context, book, "undone" if told and not problems else "attention")
    if problems:
        left = undo.reasons(problems).replace(f" ({what})", "")  # the same failure need not be told twice
        message = f"{what}; and this could not be undone: {left}; {now}restore points are untouched"
        return errors.NeedsAttention(message, undo.command(problems))
    if isinstance(error, errors.Terminated):
        error.undone = f"{now}everything this {book.kind} made was removed, restore points are untouched"
    if isinstance(error, (errors.Error, OSError)):
        return errors.Failed(f"{what}; {now}everything this {book.kind} made was removed, restore points are untouched")
    return None


def _close(context: Context, book: Journal, outcome: str) -> None:
    try:
        book.close(outcome)
    except OSError as error:
        context.log.error("The journal is not up to date: %s", errors.in_words(error))


def _state(context: Context, vm_id: int) -> str:
    try:
        return str(cloud.machine(context, vm_id).state)
    except errors.Error:
        return "not readable"
