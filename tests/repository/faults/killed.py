# SPDX-License-Identifier: Apache-2.0
"""kill -9 before and after every operation of the store: of save, delete, gc and verify, in a directory and on S3."""

from __future__ import annotations

from functools import partial

from . import invariants, operations, victim
from .cases import Case, Outcome, Wanted
from .rig import Rig

GROUP = "killed"
_WHERE = {
    "directory": ("save", "save-again", "save-merging", "delete", "gc", "verify"),
    "directory encrypted": ("save", "gc"),
    "s3": ("save", "delete", "gc", "verify"),
    "s3 encrypted": ("save-large", "save-merging", "gc"),
}
#: Reading steps change nothing: killed before them is enough.
_CHANGING = ("put", "create", "write", "publish", "delete", "remove", "file")


def cases(rig: Rig, wanted: Wanted) -> list[Case]:
    """One for each step that a clean run takes."""
    found = []
    for where, names in _WHERE.items():
        for name in filter(partial(wanted, where), names):
            content = operations.world_for(name, "encrypted" in where)
            with rig.place(where, content) as place:
                count = victim.run(name, place.address(), content, 0, "").count
            found += [Case(GROUP, where, name, f"kill {when}", at) for at in range(1, count + 1) for when in _WHEN]
    return found


_WHEN = ("before", "after")


def run(case: Case, rig: Rig) -> Outcome:
    content = operations.world_for(case.operation, "encrypted" in case.where)
    when = case.fault.partition(" ")[2]
    with rig.place(case.where, content) as place:
        death = victim.run(case.operation, place.address(), content, case.at, when)
        if death.error:
            return Outcome(case, death.step, [f"the victim itself: {death.error}"])
        if not death.step:
            return Outcome(case, skipped="it took fewer steps this time")
        if when == "after" and not death.step.startswith(_CHANGING):
            return Outcome(case, death.step, skipped="nothing changed at this step")
        looked_at = rig.looked_at(place, case.at)
        return Outcome(case, death.step, invariants.broken(looked_at, operations.gone(case.operation, content)))
