# SPDX-License-Identifier: Apache-2.0
"""Three days of one VM's disk, its clone, and the restore of the third day, by every tool in turn."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench import measuring
from bench.measuring import Cost, Samples
from bench.repository_tools import SAVED, Tool

RESTORE = "restore"
STEPS = (*SAVED, RESTORE)


class Days:
    def __init__(self, folder: Path, tools: list[Tool], samples: Samples):
        self._images, self._folder, self._tools, self._samples = folder / "images", folder, tools, samples

    def round(self, number: int) -> None:
        """Every step by all tools; each round begins with another one."""
        first = number % len(self._tools)
        turn = self._tools[first:] + self._tools[:first]
        for tool in turn:
            self._remove(tool)
            self._home(tool).mkdir(parents=True)
            tool.prepare(self._place(tool))
        for step in SAVED:
            measuring.read_through(self._images / SAVED[step])
            for tool in turn:
                self._save(tool, step)
        for tool in turn:
            self._restore(tool)
            self._remove(tool)

    def close(self) -> None:
        """Nothing stays between rounds but the images."""
        shutil.rmtree(self._images / "vm", ignore_errors=True)

    def _place(self, tool: Tool) -> Path:
        return self._home(tool) / "repository"

    def _home(self, tool: Tool) -> Path:
        return self._folder / "tools" / tool.name.replace(" ", "-")

    def _remove(self, tool: Tool) -> None:
        shutil.rmtree(self._home(tool), ignore_errors=True)

    def _save(self, tool: Tool, step: str) -> None:
        place = self._place(tool)
        argv = tool.save(place, self._images / SAVED[step], step)
        cost, said = measuring.run(argv, tool.environment, self._images)
        tool.note(place, step, said)
        self._samples.add(step, tool.name, cost, stored_mb(place))

    def _restore(self, tool: Tool) -> None:
        if tool.restore is None:
            return
        original = self._images / SAVED["day 3"]
        target = self._folder / "restored"
        measuring.read_through(*(path for path in self._place(tool).rglob("*") if path.is_file()))
        cost = restored(tool.restore(self._place(tool), target), tool.environment, target, original)
        self._samples.add(RESTORE, tool.name, cost, stored_mb(original))


def restored(argv: list[str], environment: Mapping[str, str], target: Path, original: Path) -> Cost:
    """Restore a disk.raw into a folder that is made for it, and compare it with the original."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    cost, _ = measuring.run(argv, environment, target)
    (found,) = target.rglob("disk.raw")
    subprocess.run(["cmp", str(found), str(original)], check=True)
    shutil.rmtree(target)
    return cost


def stored_mb(place: Path) -> float:
    """What a file or all files of a folder take on the disk, in 10^6 bytes."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_blocks * 512 for path in files) / 1e6
