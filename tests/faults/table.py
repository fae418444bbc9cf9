# SPDX-License-Identifier: Apache-2.0
"""The result of a matrix in numbers: by scenario, by step and by fault."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from tests.faults.cases import Outcome


def render(outcomes: Sequence[Outcome], known: int, seconds: float) -> str:
    """`known`: how many cases there are."""
    lines = [*_section("version and scenario", outcomes, _scenario), "", *_section("step", outcomes, _step), "",
             *_section("fault", outcomes, _fault), ""]  # fmt: skip
    run = [item for item in outcomes if not item.skipped]
    passed = sum(not item.wrong for item in run)
    lines.append(f"{len(run)} cases run of {known}, {passed} passed, {len(run) - passed} failed,"
                 f" {len(outcomes) - len(run)} did not apply, in {seconds:.0f} s")  # fmt: skip
    return "\n".join(lines)


def _section(title: str, outcomes: Sequence[Outcome], key: Callable[[Outcome], str]) -> list[str]:
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        rows[key(outcome)].append(outcome)
    lines = [f"{title:<48} {'run':>6} {'passed':>6}"]
    for name in sorted(rows):
        run = [item for item in rows[name] if not item.skipped]
        passed = sum(not item.wrong for item in run)
        lines.append(f"{name:<48} {len(run):>6} {passed:>6}{'' if passed == len(run) else '  <-'}")
    return lines


def _scenario(outcome: Outcome) -> str:
    return f"{outcome.case.version} {outcome.case.scenario}"


def _step(outcome: Outcome) -> str:
    """A step without its number; of a look, what was changed before it."""
    call, _, after = outcome.case.step.partition("@")
    name = call.rsplit(".", 1)[0]
    return f"{name} after {after.rsplit('.', 1)[0] if '.' in after else after}" if after else name


def _fault(outcome: Outcome) -> str:
    return outcome.case.fault
