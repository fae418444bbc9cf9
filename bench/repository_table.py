# SPDX-License-Identifier: Apache-2.0
"""The result of bench.repository as Markdown."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path

from bench import repository_limit
from bench.measuring import Sample, Samples
from bench.repository_bars import Bar
from bench.repository_days import RESTORE
from bench.repository_days import STEPS as DAYS


def lines(samples: Samples, bars: list[Bar], versions: list[str]) -> Iterator[str]:
    """The tables of all that was measured."""
    yield f"{datetime.datetime.now():%Y-%m-%d %H:%M}, {_machine()}; {', '.join(versions)}"
    yield ""
    yield "| measure | ratio or value | bar | |"
    yield "|---|---|---|---|"
    yield from (bar.line() for bar in bars)
    yield ""
    yield from _days(samples)
    yield from _others(samples)
    yield from _limit(samples)


def _days(samples: Samples) -> Iterator[str]:
    names = samples.who("full")
    if not names:
        return
    yield f"| wall / CPU, s | {' | '.join(DAYS)} | peak MiB | stored after day 1 / 2 / 3 / clone, MB | rounds |"
    yield "|---" * (len(DAYS) + 4) + "|"
    for name in names:
        cells = [_cost(samples, step, name) for step in DAYS]
        done = [step for step in DAYS if samples.has(step, name)]
        peak = max(samples.peak_mib(step, name) for step in done)
        sizes = " / ".join(f"{samples.median(step, name).mb:.0f}" for step in done if step != RESTORE)
        yield f"| {name} | {' | '.join(cells)} | {peak:.0f} | {sizes} | {samples.count('full', name)} |"
    yield ""


def _cost(samples: Samples, step: str, name: str) -> str:
    if not samples.has(step, name):
        return "-"
    cost = samples.median(step, name)
    return f"{cost.wall_s:.1f} / {cost.cpu_s:.1f}"


def _others(samples: Samples) -> Iterator[str]:
    rows = [
        (sample, samples.count(step, who), samples.peak_mib(step, who))
        for step in samples.steps()
        for who in samples.who(step)
        for sample in (samples.median(step, who),)
        if step not in (*DAYS, *repository_limit.STEPS) and not step.startswith("index")
    ]
    if rows:
        yield "| step | | wall s | CPU s | peak MiB | MB | MiB/s | rounds |"
        yield "|---|---|---|---|---|---|---|---|"
        yield from (_other(sample, count, peak) for sample, count, peak in rows)
        yield ""


def _other(cost: Sample, count: int, peak_mib: float) -> str:
    speed = f"{cost.mb * 1e6 / 2**20 / cost.wall_s:.0f}" if cost.mb else "-"
    return (
        f"| {cost.step} | {cost.who} | {cost.wall_s:.1f} | {cost.cpu_s:.1f} | {peak_mib:.0f} | {cost.mb:.0f} |"
        f" {speed} | {count} |"
    )


def _limit(samples: Samples) -> Iterator[str]:
    steps = [step for step in repository_limit.STEPS if samples.who(step)]
    if not steps:
        return
    kinds = (*repository_limit.LIMITS, *repository_limit.REST)
    yield f"| share of the CPU, % | {' | '.join(kinds)} |"
    yield "|---" * (len(kinds) + 1) + "|"
    for step in steps:
        spent = [samples.median(step, kind).cpu_s for kind in kinds]
        yield f"| {step} | {' | '.join(f'{100 * one / sum(spent):.1f}' for one in spent)} |"


def _machine() -> str:
    names = [line.split(":", 1)[1].strip() for line in _cpu_lines() if line.startswith("model name")]
    return f"{os.cpu_count()} cores{f' ({names[0]})' if names else ''}"


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
