# SPDX-License-Identifier: Apache-2.0
"""All cases: every step that a clean run was seen to take, times every fault that can happen there."""

from __future__ import annotations

import random
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


def sample(found: Sequence[Case], size: int, seed: int) -> list[Case]:
    """A spread choice: as many different faults and steps as the size allows."""
    left = list(found)
    random.Random(seed).shuffle(left)
    picked: list[Case] = []
    while left and len(picked) < size:
        faults, steps = {case.fault for case in picked}, {case.step for case in picked}
        left.sort(key=lambda case: (case.fault in faults) + (case.step in steps))
        picked.append(left.pop(0))
    return picked


def regressions() -> list[Case]:
    """Every case that ever failed."""
    lines = REGRESSIONS.read_text(encoding="utf-8").splitlines()
    return [Case.parse(line) for line in lines if line.strip() and not line.startswith("#")]
