# SPDX-License-Identifier: Apache-2.0
"""Undoing what a run has begun: in reverse order, each step once, also by another process long after (recover)."""

from __future__ import annotations

import re
from typing import Callable

from onebackup_driver import errors, power, publish, reborn, temporaries
from onebackup_driver.context import Context
from onebackup_driver.journal import Journal, Step

#: As oned words it (src/rm/Request.cc), e.g. `[one.marketapp.delete] User [2] : MARKETPLACEAPP is locked. [42].`
_LOCKED = re.compile(r"\[one\.(vm|image|template|marketapp)\.\w+\].* is locked\. \[(\d+)\]")


def everything(context: Context, journal: Journal) -> list[Exception]:
    """Undo every step that has not ended, the last one first; the errors of those that could not be undone."""
    problems: list[Exception] = []
    for step in reversed(journal.steps):
        if step.ended:
            continue
        try:
            _UNDO[step.kind](context, journal, step)
            step.ended = True
        except Exception as error:
            problems.append(error)
            context.log.error("Could not undo '%s': %s", step.kind, errors.in_words(error))
        _save(context, journal)
    return problems


def command(problems: list[Exception]) -> str:
    """What the admin should type about these problems."""
    commands = [
        problem.command if isinstance(problem, errors.NeedsAttention) else unlock_command(problem)
        for problem in problems
    ]
    told = list(dict.fromkeys(filter(None, commands)))
    if not told or not told[-1].endswith("onebackup recover"):
        told.append("onebackup recover")
    return " && ".join(told)


def unlock_command(error: BaseException) -> str:
    """What to type when something could not be done because somebody has locked an object; empty when it was not so."""
    found = _LOCKED.search(str(error)) if isinstance(error, errors.NotAuthorized) else None
    return f"one{found[1]} unlock {found[2]}" if found else ""


def reasons(problems: list[Exception]) -> str:
    """The problems in words, each once; of an unreachable front-end one is enough."""
    silent = [item for item in problems if isinstance(item, (errors.Unreachable, errors.OutcomeUnknown))]
    told = [item for item in problems if item not in silent[1:]]
    return "; ".join(dict.fromkeys(map(errors.in_words, told)))


def unlocking(vm_id: int, error: BaseException) -> str:
    """What to type first when an ONEBACKUP or BACKUP could not be written because its VM is locked."""
    of_vm = isinstance(error, errors.NotAuthorized) and error.method == "one.vm.update"
    return f"onevm unlock {vm_id} && " if of_vm else ""


def _power(context: Context, journal: Journal, step: Step) -> None:
    power.give_back(context, journal, step)


def _temporaries(context: Context, journal: Journal, step: Step) -> None:
    temporaries.remove(context, journal.run)


def _apps(context: Context, journal: Journal, step: Step) -> None:
    publish.remove_apps(context, journal.run)


def _removal(context: Context, journal: Journal, step: Step) -> None:
    """What was to be deleted cannot come back: the deletion is brought to its end."""
    publish.remove_point(context, journal.run, step.facts["app_ids"])


def _restored(context: Context, journal: Journal, step: Step) -> None:
    reborn.remove(context, journal.run)
    temporaries.remove(context, journal.run)


def _save(context: Context, journal: Journal) -> None:
    try:
        journal.save()
    except OSError as error:
        context.log.error("The journal is not up to date: %s", errors.in_words(error))


_UNDO: dict[str, Callable[[Context, Journal, Step], None]] = {
    "power": _power,
    "temporaries": _temporaries,
    "apps": _apps,
    "removal": _removal,
    "restored": _restored,
}
