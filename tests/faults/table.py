# SPDX-License-Identifier: Apache-2.0
"""The result of a matrix in numbers: by step and by fault."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from tests.faults.cases import Outcome


def render(outcomes: Sequence[Outcome], seconds: float) -> str:
    lines = [*_section("scenario and step", outcomes, _step), "", *_section("fault", outcomes, _fault), ""]
    run = [item for item in outcomes if not item.skipped]
    passed = sum(not item.wrong for item in run)
    lines.append(f"{len(run)} cases run, {passed} passed, {len(run) - passed} failed,"
                 f" {len(outcomes) - len(run)} did not apply, in {seconds:.0f} s")  # fmt: skip
    return "\n".join(lines)


def _section(title: str, outcomes: Sequence[Outcome], key: Callable[[Outcome], str]) -> list[str]:
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        rows[key(outcome)].append(outcome)
    lines = [f"{title:<72} {'run':>5} {'passed':>6}"]
    for name, found in rows.items():
        run = [item for item in found if not item.skipped]
        passed = sum(not item.wrong for item in run)
        lines.append(f"{name:<72} {len(run):>5} {passed:>6}{'' if passed == len(run) else '  <-'}")
    return lines


def _step(outcome: Outcome) -> str:
    return f"{outcome.case.version} {outcome.case.scenario} {outcome.case.step}"


def _fault(outcome: Outcome) -> str:
    return outcome.case.fault
