# SPDX-License-Identifier: Apache-2.0
"""What backups and restores cost beside borg, restic and a plain copy: all that issue 5 sets a bar for.

    .venv/bin/python -m bench.repository [--full] [--only PART,…] [--tools NAME,…] [--rounds N] [--more] [--show]

Whole processes; within a round every step is done by every tool in turn, each round begins with another one. CPU is
user + system time, peak the largest resident set of a process or its children; figures are medians of the rounds.
Every restored image is compared with the original. The default takes minutes; --full uses disks of 8 GiB with 3.3 GB
of data (the bars are meant for these), takes an hour and needs 70 GiB in the folder. Samples are kept there, so that
a run can be made in pieces: --only for some parts, --more to add rounds to those measured, --show for the table of
what there is. Ends with 1 when a bar is missed; wall times mean something only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import (
    repository_bars,
    repository_days,
    repository_gateway,
    repository_imports,
    repository_index,
    repository_limit,
    repository_peers,
    repository_s3,
    repository_table,
    repository_tools,
)
from bench.measuring import ROOT, Samples
from bench.repository_tools import Tool


@dataclass(frozen=True)
class Part:
    """One of the parts of the bench: `make` gives an object with round(number) and close()."""

    make: Callable[[argparse.Namespace, Path, Samples], Any]
    steps: tuple[str, ...]


def _days(words: argparse.Namespace, folder: Path, samples: Samples) -> repository_days.Days:
    tools = _tools(words.folder / "peers")
    wanted = words.tools.split(",") if words.tools else list(tools)
    return repository_days.Days(folder, [tools[name]() for name in wanted if name in tools], samples)


PARTS = {
    "days": Part(_days, repository_days.STEPS),
    "gateway": Part(
        lambda words, folder, samples: repository_gateway.Gateway(folder, samples),
        (repository_gateway.STEP, f"{repository_gateway.STEP}: server"),
    ),
    "imports": Part(
        lambda words, folder, samples: repository_imports.Imports(folder, samples), (repository_imports.STEP,)
    ),
    "s3": Part(lambda words, folder, samples: repository_s3.S3(folder, samples), repository_s3.STEPS),
    "limit": Part(lambda words, folder, samples: repository_limit.Limit(folder, samples), repository_limit.STEPS),
    "index": Part(
        lambda words, folder, samples: repository_index.Index(folder, samples, 25_000_000 if words.full else 1_000_000),
        (repository_index.STEP,),
    ),
}


def _tools(folder: Path) -> dict[str, Callable[[], Tool]]:
    """All tools there are, by name; peers that cannot be installed are left out."""
    borg, restic = repository_peers.borg(folder), repository_peers.restic(folder)
    tools: dict[str, Callable[[], Tool]] = {
        repository_tools.OURS: lambda: repository_tools.onebackup(repository_tools.OURS),
        repository_tools.ENCRYPTED: lambda: repository_tools.onebackup(repository_tools.ENCRYPTED, encrypted=True),
        repository_tools.DRIVER: repository_tools.driver,
    }
    if borg:
        tools[repository_tools.BORG] = lambda: repository_tools.borg(repository_tools.BORG, borg, "zstd,1")
        tools[repository_tools.BORG_FAST] = lambda: repository_tools.borg(repository_tools.BORG_FAST, borg, "lz4")
    if restic:
        tools[repository_tools.RESTIC] = lambda: repository_tools.restic(restic)
    return {**tools, repository_tools.COPY: repository_tools.copy}


def _measure(words: argparse.Namespace, folder: Path, samples: Samples) -> None:
    # In a process of its own: a child's peak begins with that of the process that started it.
    maker = [sys.executable, "-m", "bench.repository_workload", str(folder / "images"), *(["--full"] * words.full)]
    subprocess.run(maker, check=True, cwd=ROOT)
    for name in words.only.split(","):
        part = PARTS[name]
        if not words.more:
            samples.forget(part.steps)
        print(f"{name}, {datetime.datetime.now():%H:%M}, load {os.getloadavg()[0]:.1f}", flush=True)
        running = part.make(words, folder, samples)
        try:
            for number in range(1 if name == "index" else words.rounds):
                running.round(words.first + number)
        finally:
            running.close()


def main() -> int:
    """Measure and print the table; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {','.join(PARTS)}")
    parser.add_argument("--tools", default="", help="tools for the part `days`; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="number of the first round: who begins")
    parser.add_argument("--more", action="store_true", help="keep the samples of earlier runs")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/onebackup-bench"))
    words = parser.parse_args()
    folder = words.folder / ("full" if words.full else "small")
    folder.mkdir(parents=True, exist_ok=True)
    samples = Samples(folder / "samples.jsonl")
    if not words.show:
        _measure(words, folder, samples)
    bars = list(repository_bars.of(samples))
    peers = [peer for peer in (find(words.folder / "peers") for find in _PEERS) if peer]
    print("\n".join(repository_table.lines(samples, bars, [repository_peers.version(peer) for peer in peers])))
    return 1 if any(bar.is_missed for bar in bars) else 0


_PEERS = (repository_peers.borg, repository_peers.restic)

if __name__ == "__main__":
    sys.exit(main())
