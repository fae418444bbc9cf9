# SPDX-License-Identifier: Apache-2.0
"""A case, what came of it, a spread sample of cases, and the table of them all."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

#: Whether cases of this store and operation are asked for at all: to find them out costs a run.
Wanted = Callable[[str, str], bool]


@dataclass(frozen=True)
class Case:
    """`group`: the module that runs it; `where`: kind of store and key ("s3 encrypted"); `at`: number of the step."""

    group: str
    where: str
    operation: str
    fault: str
    at: int = 0
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.group}/{self.where}/{self.operation}/{self.fault}/{self.at}/{self.seed}"


def parse(text: str) -> Case:
    """What str(case) gave."""
    group, where, operation, fault, at, seed = text.split("/")
    return Case(group, where, operation, fault, int(at), int(seed))


@dataclass
class Outcome:
    """`step`: at what it struck, in words; `wrong`: the broken invariants; `skipped`: why it did not apply."""

    case: Case
    step: str = ""
    wrong: list[str] = field(default_factory=list)
    skipped: str = ""
    seconds: float = 0.0


def sample(cases: Iterable[Case], count: int, seed: int) -> list[Case]:
    """Spread: first one of each (operation, fault), then of each (where, operation), then any; chosen by the seed."""
    shuffled = sorted(cases, key=str)
    random.Random(seed).shuffle(shuffled)
    chosen: dict[Case, None] = {}
    for key in (lambda case: case.fault, lambda case: (case.where, case.operation), str):
        seen = set()
        for case in shuffled:
            if len(chosen) < count and key(case) not in seen:
                seen.add(key(case))
                chosen[case] = None
    return list(chosen)


def render(outcomes: Sequence[Outcome], seconds: float) -> str:
    """The table: cases and how many passed, by operation and step, then by fault."""
    by_step = _section("operation and step", outcomes, lambda item: f"{item.case.operation}: {item.step}")
    by_fault = _section("store and fault", outcomes, lambda item: f"{item.case.where}: {item.case.fault}")
    run = [item for item in outcomes if not item.skipped]
    bad = sum(bool(item.wrong) for item in run)
    total = (
        f"{len(run)} cases run, {len(run) - bad} passed, {bad} failed, "
        f"{len(outcomes) - len(run)} did not apply, in {seconds:.0f} s"
    )
    return "\n".join([*by_step, "", *by_fault, "", total])


def _section(title: str, outcomes: Sequence[Outcome], key: Callable[[Outcome], str]) -> list[str]:
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for item in outcomes:
        if not item.skipped:
            rows[key(item)].append(item)
    lines = [f"{title:<64} {'cases':>6} {'passed':>6}"]
    for name in sorted(rows):
        passed = sum(not item.wrong for item in rows[name])
        lines.append(f"{name:<64} {len(rows[name]):>6} {passed:>6}{'' if passed == len(rows[name]) else '  <-'}")
    return lines
