# SPDX-License-Identifier: Apache-2.0
"""Something else happens to the repository at each step of an operation: deletions, gc with a wrong clock, a save."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Optional
from unittest import mock

from onebackup_driver import clock
from onebackup_driver.repository import gc, problems, verified, verify

from . import invariants, operations, steps, victim, world
from .cases import Case, Outcome, Wanted
from .places import Place
from .rig import Rig

GROUP = "meanwhile"
_DAY_S = 24 * world.HOUR_S
_WHERE = {"directory": ("save", "restore", "verify", "gc"), "s3": ("save",)}


class _Event:
    """What happens. `labels`: of what it deletes; `passing_s`: how much time passes then."""

    def __init__(self, act: Callable[[Place], None], labels: tuple[str, ...] = (), passing_s: float = 0.0):
        self.act, self.labels, self.passing_s = act, labels, passing_s


def _delete(place: Place, label: str) -> None:
    place.open().delete(place.world.newest(label))


def _parent_deleted(place: Place) -> None:
    _delete(place, "A2")
    _delete(place, "A1")


def _parent_condemned(place: Place) -> None:
    _parent_deleted(place)
    place.age(25)
    gc.collect(place.open())


def _parent_swept(place: Place) -> None:
    """So much time passes for everybody that gc deletes what the parent had."""
    _parent_condemned(place)
    place.age(37)
    gc.collect(place.open())


def _gc(place: Place) -> None:
    gc.collect(place.open())


def _gc_with_clock(ahead_s: float) -> Callable[[Place], None]:
    def act(place: Place) -> None:
        death = victim.run("gc", place.address(), place.world, 0, "", ahead_s=ahead_s)
        if death.error:
            raise AssertionError(f"gc of the other front-end: {death.error}")

    return act


def _same_saved(place: Place) -> None:
    place.points[world.save(place.open(), "A3", place.world.newest("A2")).name] = "A3"


def _verified(place: Place) -> None:
    if not verify.verify(place.open()).is_whole:
        raise AssertionError("verify meanwhile found damage")


_EVENTS = {
    "parent deleted": _Event(_parent_deleted, ("A1", "A2")),
    "parent deleted and condemned": _Event(_parent_condemned, ("A1", "A2")),
    "parent deleted and swept, days later": _Event(_parent_swept, ("A1", "A2"), passing_s=62 * world.HOUR_S),
    "gc": _Event(_gc),
    "gc, clock 3 days ahead": _Event(_gc_with_clock(3 * _DAY_S)),
    "gc, clock 3 days behind": _Event(_gc_with_clock(-3 * _DAY_S)),
    "the same content saved": _Event(_same_saved),
    "verify": _Event(_verified),
}
_STEPS = {"save": 42, "restore": 30, "verify": 60, "gc": 60}


def cases(rig: Rig, wanted: Wanted) -> list[Case]:
    found = []
    for where, names in _WHERE.items():
        for name in filter(partial(wanted, where), names):
            every = 1 if where == "directory" and name == "save" else 3
            found += [Case(GROUP, where, name, event, at) for event in _EVENTS for at in range(1, _STEPS[name], every)]
        if wanted(where, "save"):
            found += [Case(GROUP, where, "save", f"clock {days:+d} days", 0) for days in (-400, -1, 1, 400)]
    return found


def run(case: Case, rig: Rig) -> Outcome:
    content = operations.world_for(case.operation, encrypted=False)
    with rig.place(case.where, content) as place:
        if case.fault.startswith("clock "):
            return _wrong_clock(case, place)
        event, struck = _EVENTS[case.fault], list[str]()

        def act(number: int, when: str, label: str) -> None:
            if number == case.at and when == "before":
                struck.append(label)
                event.act(place)

        store = steps.Stepped(place.open_store(), act)
        with _passing(event.passing_s, struck):
            error = operations.outcome(case.operation, store, content)
        if not struck:
            return Outcome(case, skipped="it takes fewer steps")
        gone = {name for name, label in content.points.items() if label in event.labels}
        wrong = _judged(case, event, error) + invariants.broken(rig.looked_at(place, case.at), gone)
        return Outcome(case, struck[0], wrong)


def _passing(seconds: float, struck: list[str]) -> mock._patch[Callable[[], tuple[float, ...]]]:
    """From the event on all clocks of the operation say so much more."""
    true = clock._all_clocks
    return mock.patch.object(
        clock, "_all_clocks", lambda: tuple(value + (seconds if struck else 0.0) for value in true())
    )


def _judged(case: Case, event: _Event, error: Optional[Exception]) -> list[str]:
    if error is None or (event.labels and isinstance(error, (problems.RepositoryError, problems.NotARepository))):
        return []  # what is read may be deleted under the reader: said, never wrong
    if isinstance(error, problems.RunTooLong):
        return [] if event.passing_s else [f"too long: {error}"]
    return [f"{case.operation}: {type(error).__name__}: {error}"]


def _wrong_clock(case: Case, place: Place) -> Outcome:
    """A front-end whose time of day is wrong saves, verifies and collects; the others notice nothing."""
    ahead_s = int(case.fault.split()[1]) * _DAY_S
    wrong = []
    for name in place.names():
        if name.startswith("verified/"):
            place.write(name, None)
    for operation in ("save", "verify", "gc"):
        death = victim.run(operation, place.address(), place.world, 0, "", ahead_s=ahead_s)
        wrong += [f"{operation}: {death.error}"] if death.error else []
    ages = [time.time() - at for at in verified.History(place.open()).last_verified().values()]
    if any(age_s < -60 for age_s in ages):
        wrong.append(f"believed a verification of the future: {min(ages)} s ago")
    return Outcome(case, case.fault, wrong + invariants.broken(place))
