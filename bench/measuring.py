# SPDX-License-Identifier: Apache-2.0
"""What whole processes cost, and the samples of a bench, kept in a file so that it can be run in pieces."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parent.parent
MIB = 1024 * 1024


@dataclass(frozen=True)
class Cost:
    """Of a process and its children: user + system time, wall time, the largest resident set of any of them."""

    cpu_s: float
    wall_s: float
    peak_mib: float


@dataclass(frozen=True)
class Sample:
    """What `who` needed for a `step` once; `mb` (10^6 bytes): what was stored after it, or what went through it."""

    step: str
    who: str
    cpu_s: float
    wall_s: float
    peak_mib: float
    mb: float = 0.0


class Running:
    """A process that was started; `end` waits for it."""

    def __init__(self, argv: list[str], environment: Optional[Mapping[str, str]] = None, cwd: Optional[Path] = None):
        self._argv, self._began = argv, time.monotonic()
        self.process = subprocess.Popen(
            argv, env={**os.environ, **(environment or {})}, cwd=cwd or ROOT,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def has_ended(self) -> bool:
        """Whether `end` would not wait."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self, expected: int = 0) -> tuple[Cost, str]:
        """What it cost and printed. Raises CalledProcessError."""
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            said = stream.read().decode()
        _, status, usage = os.wait4(self.process.pid, 0)
        wall = time.monotonic() - self._began
        self.process.returncode = os.waitstatus_to_exitcode(status)
        if self.process.returncode != expected:
            raise subprocess.CalledProcessError(self.process.returncode, self._argv, said)
        return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024), said.strip()


def run(
    argv: list[str], environment: Optional[Mapping[str, str]] = None, cwd: Optional[Path] = None
) -> tuple[Cost, str]:
    """Run a command once what others have written is on the disk; what it cost and printed."""
    os.sync()
    return Running(argv, environment, cwd).end()


def read_through(*paths: Path) -> None:
    """Have files in the page cache: all find them there."""
    subprocess.run(["cat", *map(str, paths)], check=True, stdout=subprocess.DEVNULL)


class Samples:
    """All samples of a bench, one JSON object a line."""

    def __init__(self, path: Path):
        self._path = path
        self._kept: dict[tuple[str, str], list[Sample]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._keep(Sample(**json.loads(line)))

    def _keep(self, sample: Sample) -> None:
        self._kept.setdefault((sample.step, sample.who), []).append(sample)

    def add(self, step: str, who: str, cost: Cost, mb: float = 0.0) -> None:
        sample = Sample(step, who, cost.cpu_s, cost.wall_s, cost.peak_mib, mb)
        self._keep(sample)
        with open(self._path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(sample)) + "\n")
        print(
            f"  {step:22} {who:20} {cost.wall_s:7.2f} s wall {cost.cpu_s:7.2f} s CPU {cost.peak_mib:6.0f} MiB"
            f" {mb:8.0f} MB",
            flush=True,
        )

    def forget(self, steps: tuple[str, ...]) -> None:
        """Drop what was measured of these steps."""
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] not in steps}
        lines = [json.dumps(asdict(sample)) + "\n" for kept in self._kept.values() for sample in kept]
        self._path.write_text("".join(lines), encoding="utf-8")

    def has(self, step: str, who: str) -> bool:
        return (step, who) in self._kept

    def count(self, step: str, who: str) -> int:
        return len(self._kept.get((step, who), ()))

    def steps(self) -> list[str]:
        """All steps, in the order of their first samples."""
        return list(dict.fromkeys(step for step, _ in self._kept))

    def who(self, step: str) -> list[str]:
        """Whoever did a step, in the order of their first samples."""
        return [name for kept, name in self._kept if kept == step]

    def median(self, step: str, who: str) -> Sample:
        """Each figure's median."""
        kept = self._kept[step, who]
        figures = (statistics.median(getattr(sample, name) for sample in kept) for name in _FIGURES)
        return Sample(step, who, *figures)

    def peak_mib(self, step: str, who: str) -> float:
        """The largest of all samples."""
        return max(sample.peak_mib for sample in self._kept[step, who])


_FIGURES = ("cpu_s", "wall_s", "peak_mib", "mb")
