# SPDX-License-Identifier: Apache-2.0
"""Eight disks imported by the driver's own processes, one, two, four and eight at once: always the same work."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from bench import measuring, repository_tools
from bench.measuring import MIB, Cost, Running, Samples
from bench.repository_workload import data_extents

STEP = "8 imports"
AT_ONCE = (1, 2, 4, 8)
_DISKS = 8


def who(at_once: int) -> str:
    return f"{at_once} at once"


class Imports:
    def __init__(self, folder: Path, samples: Samples):
        self._place, self._samples = folder / "tools" / "imports", samples
        shutil.rmtree(self._place, ignore_errors=True)
        (self._place / "images").mkdir(parents=True)
        self._images = _divide(folder / "images" / "day1.raw", self._place / "images")

    def round(self, number: int) -> None:
        turn = AT_ONCE[number % len(AT_ONCE) :] + AT_ONCE[: number % len(AT_ONCE)]
        for at_once in turn:
            measuring.read_through(*self._images)
            cost = self._all(at_once)
            self._samples.add(STEP, who(at_once), cost, sum(path.stat().st_size for path in self._images) / 1e6)

    def close(self) -> None:
        shutil.rmtree(self._place)

    def _all(self, at_once: int) -> Cost:
        place = self._place / "front-end"
        shutil.rmtree(place, ignore_errors=True)
        front = repository_tools.front(place)
        front.prepare()
        waiting = [front.import_argv(image, str(number)) for number, image in enumerate(self._images)]
        began, running, costs = time.monotonic(), list[Running](), list[Cost]()
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(Running(waiting.pop()))
            costs.extend(_ended(running))
            time.sleep(0.005)
        wall = time.monotonic() - began
        return Cost(sum(cost.cpu_s for cost in costs), wall, max(cost.peak_mib for cost in costs))


def _ended(running: list[Running]) -> Iterator[Cost]:
    """Those that have ended are taken out of the list."""
    for process in list(running):
        if process.has_ended():
            running.remove(process)
            yield process.end()[0]


def _divide(image: Path, folder: Path) -> list[Path]:
    """The data of a disk in eight files of the same size, without holes."""
    paths = [folder / f"{number}.raw" for number in range(_DISKS)]
    total = sum(stop - start for start, stop in data_extents(image)) // MIB
    each, streams = total // _DISKS * MIB, iter(paths)
    stream, room = open(next(streams), "wb"), each  # noqa: SIM115
    with open(image, "rb") as reader:
        for start, stop in data_extents(image):
            reader.seek(start)
            while start < stop and stream:
                data = reader.read(min(4 * MIB, stop - start, room))
                start, room = start + stream.write(data), room - len(data)
                if not room:
                    stream.close()
                    following = next(streams, None)
                    if following is None:
                        return paths
                    stream, room = open(following, "wb"), each  # noqa: SIM115
    raise AssertionError("the disk is smaller than its data")
