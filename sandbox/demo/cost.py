# SPDX-License-Identifier: Apache-2.0
"""What a backup costs: time, and bytes in the repository, beside the full copy that a stock driver would store."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.demo.proof import MIB


@dataclass(frozen=True)
class Cost:
    """What one backup took."""

    seconds: float
    stored_bytes: int


def of(repository: Path, work: Callable[[], object]) -> Cost:
    """Do the work; what it took."""
    before, began = size_of(repository), time.monotonic()
    work()
    return Cost(time.monotonic() - began, size_of(repository) - before)


def size_of(repository: Path) -> int:
    """The bytes of all files in a repository."""
    return sum(path.stat().st_size for path in repository.rglob("*") if path.is_file())


def show(days: list[tuple[str, Cost]], copy_bytes: int) -> None:
    """A line a day. `copy_bytes`: the images as they are downloaded, which is what a stock driver keeps each day."""
    print(f"{'':10}  {'time':>7}  {'stored':>8}  a full copy  ratio")
    for name, cost in days:
        stored, copied = cost.stored_bytes / MIB, copy_bytes / MIB
        print(f"{name:10}  {cost.seconds:5.1f} s  {stored:5.1f} MB  {copied:8.1f} MB  {stored / copied:5.0%}")
