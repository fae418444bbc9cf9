# SPDX-License-Identifier: Apache-2.0
"""All cases: every step that a clean run was seen to take, times every fault that can happen there."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tests.faults import fault_kinds, scenarios
from tests.faults.cases import Case
from tests.faults.rig import Rig
from tests.faults.scenarios import SCENARIOS

REGRESSIONS = Path(__file__).with_name("regressions.txt")


def cases(rig: Rig, chosen: Sequence[str]) -> Iterator[Case]:
    """The cases of the chosen scenarios for the rig's version; the scenarios are run once each to see their steps."""
    for name in chosen:
        for step in scenarios.record(rig, SCENARIOS[name]):
            for fault in fault_kinds.of_step(name, step):
                yield Case(rig.version, name, step, fault)


def matching(found: Sequence[Case], step: str, fault: str) -> list[Case]:
    return [case for case in found if fnmatchcase(case.step, step) and fnmatchcase(case.fault, fault)]


def spread(found: Sequence[Case], seed: int) -> list[Case]:
    """The same cases in an order of which every beginning is spread over scenarios, faults and steps."""
    shuffled = list(found)
    random.Random(seed).shuffle(shuffled)
    seen: Counter[tuple[str, ...]] = Counter()

    def rank(case: Case) -> int:
        groups = ((case.version, case.scenario, case.fault), (case.version, case.scenario, case.step))
        seen.update(groups)
        return sum(seen[group] for group in groups)

    return sorted(shuffled, key=rank)


def sample(found: Sequence[Case], size: int, seed: int) -> list[Case]:
    """A choice of as many different faults and steps as the size allows."""
    return spread(found, seed)[:size]


def regressions() -> list[Case]:
    """Every case that ever failed."""
    lines = REGRESSIONS.read_text(encoding="utf-8").splitlines()
    return [Case.parse(line) for line in lines if line.strip() and not line.startswith("#")]
