# SPDX-License-Identifier: Apache-2.0
"""The bars of the project (issue 5, section 4), judged by the medians of what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench import repository_gateway, repository_imports, repository_index, repository_limit, repository_s3
from bench.measuring import Samples
from bench.repository_days import RESTORE
from bench.repository_days import STEPS as DAYS
from bench.repository_tools import BORG, DRIVER, ENCRYPTED, OURS, PEERS, RESTIC

#: A throughput that is this part of another's has not fallen: what rounds differ by.
_NOISE = 0.95
_WORDS = {"full": "full backup", RESTORE: "restore", "clone VM": "after the clone VM as well"}
_FIGURES = {"cpu_s": "CPU", "wall_s": "wall", "mb": "stored"}


@dataclass(frozen=True)
class Bar:
    """What was measured and where it should lie; `kind`: "<=", ">=", or "" when it is only told."""

    name: str
    value: float
    kind: str = ""
    limit: float = 0.0

    @property
    def is_missed(self) -> bool:
        """Whether it does not hold."""
        return (self.kind == "<=" and self.value > self.limit) or (self.kind == ">=" and self.value < self.limit)

    def line(self) -> str:
        """As a row of a table in Markdown."""
        bar = f"{self.kind} {self.limit:g}" if self.kind else ""
        held = ("**missed**" if self.is_missed else "held") if self.kind else ""
        return f"| {self.name} | {self.value:.2f} | {bar} | {held} |"


def of(samples: Samples) -> Iterator[Bar]:
    """All bars for which there are samples."""
    for part in (_days, _driver, _memory, _gateway, _imports, _s3, _limit, _index):
        yield from part(samples)


def _days(samples: Samples) -> Iterator[Bar]:
    yield from _ratio(samples, "full", "cpu_s", PEERS, 1.0)
    yield from _ratio(samples, "full", "cpu_s", (RESTIC,), 0.35)
    if samples.has("full", BORG):
        yield from (Bar(bar.name, bar.value) for bar in _ratio(samples, "full", "cpu_s", (BORG,), 0.0))
    yield from _ratio(samples, "full", "wall_s", PEERS, 0.55)
    for step in ("day 2", "day 3"):
        yield from _ratio(samples, step, "cpu_s", PEERS, 0.6)
        yield from _ratio(samples, step, "wall_s", PEERS, 0.4)
    yield from _ratio(samples, RESTORE, "wall_s", PEERS, 0.55)
    for step in ("day 3", "clone VM"):
        yield from _ratio(samples, step, "mb", (BORG, RESTIC), 0.9)


def _ratio(
    samples: Samples, step: str, figure: str, peers: tuple[str, ...], limit: float, who: str = OURS
) -> Iterator[Bar]:
    """Ours by the best peer's, if both were measured."""

    def value(name: str) -> float:
        return float(getattr(samples.median(step, name), figure))

    measured = [peer for peer in peers if samples.has(step, peer)]
    if measured and samples.has(step, who):
        best = min(measured, key=value)
        name = f"{_WORDS.get(step, step)}, {_FIGURES[figure]} / {best}"
        yield Bar(name, value(who) / value(best), "<=" if limit else "", limit)


def _driver(samples: Samples) -> Iterator[Bar]:
    """Told, not judged: no peer reads back what it has stored, and none makes an MD5 of the whole disk."""
    for step in ("full", "day 2", "day 3"):
        for figure in ("cpu_s", "wall_s"):
            for bar in _ratio(samples, step, figure, PEERS, 0.0, DRIVER):
                yield Bar(f"import, with its reading back and MD5: {bar.name}", bar.value)


def _memory(samples: Samples) -> Iterator[Bar]:
    gateway = f"{repository_gateway.STEP}: server"
    s3 = (repository_s3.NEAR, repository_s3.FAR)
    groups: list[tuple[str, list[tuple[str, str]]]] = [
        ("repository, directory", [(step, who) for step in DAYS for who in (OURS, ENCRYPTED)]),
        ("driver's import", [(step, DRIVER) for step in DAYS]),
        ("driver's imports at once", [(repository_imports.STEP, who) for who in samples.who(repository_imports.STEP)]),
        ("gateway", [(gateway, who) for who in samples.who(gateway)]),
        ("backup to S3", [(step, who) for step in repository_s3.STEPS[:2] for who in s3]),
        ("restore from S3", [(repository_s3.RESTORE, who) for who in s3]),
    ]
    for name, keys in groups:
        peaks = [samples.peak_mib(*key) for key in keys if samples.has(*key)]
        if peaks:
            yield Bar(f"peak memory, {name}, MiB", max(peaks), "<=", 150)


def _gateway(samples: Samples) -> Iterator[Bar]:
    step = repository_gateway.STEP
    for who in (repository_gateway.QCOW2, repository_gateway.RAW):
        if samples.has(step, who):
            ratio = samples.median(step, who).wall_s / samples.median(step, repository_gateway.DIRECT).wall_s
            yield Bar(f"gateway: {who}, wall / direct restore", ratio, "<=", 1.3)


def _imports(samples: Samples) -> Iterator[Bar]:
    step, (first, *others) = repository_imports.STEP, map(repository_imports.who, repository_imports.AT_ONCE)
    for who in others:
        if samples.has(step, who):
            ratio = samples.median(step, first).wall_s / samples.median(step, who).wall_s
            yield Bar(f"8 imports, {who}: throughput / {first}", ratio, ">=", _NOISE)


def _s3(samples: Samples) -> Iterator[Bar]:
    for step in repository_s3.STEPS:
        if not samples.has(step, repository_s3.FAR):
            continue
        near, far = (samples.median(step, who) for who in (repository_s3.NEAR, repository_s3.FAR))
        judged = step != repository_s3.DAY_2
        name = f"{step}, throughput at 50 ms / at 0 ms"
        yield Bar(name, near.wall_s / far.wall_s, ">=" if judged else "", 0.8 if judged else 0.0)
        yield Bar(f"{step}, MiB/s at 50 ms", far.mb * 1e6 / 2**20 / far.wall_s, ">=", 16)


def _limit(samples: Samples) -> Iterator[Bar]:
    for step in repository_limit.STEPS:
        if samples.who(step):
            share = 100 * repository_limit.outside(samples, step)
            yield Bar(f"{step}: CPU outside zstd, hash and kernel I/O, %", share, "<=", 15)


def _index(samples: Samples) -> Iterator[Bar]:
    step = repository_index.STEP
    for who in samples.who(step):
        yield Bar(f"index, {who}: peak memory, MiB", samples.peak_mib(step, who), "<=", repository_index.LIMIT_MIB)
        if who != repository_index.MERGE:
            one_ms = 1000 * samples.median(step, who).wall_s
            yield Bar(f"index, {who}: one look-up, ms", one_ms, "<=", repository_index.LIMIT_MS)
