# SPDX-License-Identifier: Apache-2.0
"""Actors at work at the same time, in an order that a seed decides; when all is quiet, what must hold is looked at."""

from __future__ import annotations

import random
import time
import traceback
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from tests.concurrency import deeds, judge, stage

#: So many operations, then everything has to come to rest and is judged.
ROUND = 20
_LONGEST_PAUSE_S = 0.6


@dataclass
class Outcome:
    """`wrong`: what did not hold in the round that ended the run; `trace`: what was done, with the seconds since the
    begin; `operations`: how many were done."""

    version: str
    seed: int
    operations: int = 0
    rounds: int = 0
    wrong: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)

    def report(self) -> str:
        lines = [f"FAILED: {self.version}, seed {self.seed}, after {self.operations} operations"]
        lines += [*(f"  {text}" for text in self.wrong), "trace of the operations:"]
        lines += [f"  {text}" for text in self.trace]
        options = f"--version {self.version} --seed {self.seed} --operations {self.operations}"
        return "\n".join([*lines, f"to run it again: python -m tests.concurrency {options}"])


def run(version: str, seed: int, operations: int, say: Optional[Callable[[str], None]] = None) -> Outcome:
    """Hammer one version with one seed; ends with the first round in which something does not hold."""
    chance, outcome = random.Random(seed), Outcome(version, seed)
    began = time.monotonic()

    def note(text: str) -> None:
        line = f"{time.monotonic() - began:7.2f} {text}"
        outcome.trace.append(line)
        if say is not None:
            say(line)

    with stage.set_up(version) as place:
        good: dict[str, dict[str, Any]] = {}
        while outcome.operations < operations and not outcome.wrong:
            for _ in range(min(ROUND, operations - outcome.operations)):
                _one(place, chance, note)
                outcome.operations += 1
            _judge(place, chance, good, outcome, note)
    return outcome


def _one(place: stage.Stage, chance: random.Random, note: Callable[[str], None]) -> None:
    weights = [weight for weight, _ in deeds.DEEDS]
    deed = chance.choices([deed for _, deed in deeds.DEEDS], weights)[0]
    pause_s = chance.choice([0.0, 0.05, 0.2, _LONGEST_PAUSE_S]) * chance.random()
    note(deed(place, random.Random(chance.random())))
    time.sleep(pause_s)


def _judge(place: stage.Stage, chance: random.Random, good: dict[str, dict[str, Any]], outcome: Outcome,
           note: Callable[[str], None]) -> None:  # fmt: skip
    sample = random.Random(chance.random()).choice(place.machines)
    started = list(place.started)
    try:
        outcome.wrong = judge.quiet(place, good, sample)
    except Exception:  # the trace of the operations is worth more than an end here
        outcome.wrong = [traceback.format_exc()]
    for item in started:
        last = (item.text("err") or item.text("out")).strip().splitlines()[-1:]
        note(f"ended with {item.code}: {item.what}: {last[0][:600] if last and item.code else ''}")
    outcome.rounds += 1
    note(f"quiet: {len(outcome.wrong)} wrong")
    if outcome.wrong:
        outcome.trace += ["log of the hooks' worker of A:", *place.hooked.log().splitlines()[-60:]]
