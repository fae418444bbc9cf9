# SPDX-License-Identifier: Apache-2.0
"""What backups and restores cost beside restic, borg and a plain copy.

    .venv/bin/python -m bench.repository [--full] [--rounds N] [--folder DIRECTORY] [--borg PROGRAM] [--restic PROGRAM]

Whole processes; within a round every step is done by every tool in turn, each round begins with another one. CPU is
user + system time, peak the maximum resident set, both of the process and its children; figures are medians of the
rounds. Every restored image is compared with the original (cmp). --full uses disks of 8 GiB and needs about 60 GiB in
the folder; the default takes a few minutes. Tools that are not installed are left out. Stored sizes are compared at the
same level of zstd: 1 with borg, 3 with restic. Ends with 1 when a bar of the project is missed; wall times mean
something only on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from bench import repository_workload as workload

ROOT = Path(__file__).resolve().parent.parent
STEPS = ("full", "day 2", "day 3", "clone VM", "restore")
SAVED = dict(zip(STEPS, workload.IMAGES))
OURS, RESTIC, BORG = "onebackup", "restic", "borg"
#: With which of ours the stored size of a peer is compared.
LEVELS = {BORG: OURS, RESTIC: f"{OURS} zstd 3"}


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    wall_s: float
    peak_mib: float


@dataclass
class Tool:
    """How a tool is called: `prepare` makes a repository, `save` and `restore` give the command of a step."""

    name: str
    prepare: Callable[[Path], None]
    save: Callable[[Path, Path, str], list[str]]
    restore: Callable[[Path, Path], list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    note: Callable[[Path, str, str], None] = lambda place, step, said: None


def measured(argv: list[str], environment: dict[str, str], cwd: Path) -> tuple[Cost, str]:
    """Run a command; what it cost and said. Raises CalledProcessError."""
    os.sync()
    began = time.monotonic()
    with subprocess.Popen(
        argv, env={**os.environ, **environment}, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv)
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024), said.strip()


def onebackup(name: str, level: int, encrypted: bool) -> Tool:
    python = [sys.executable, "-m", "bench.repository_steps"]
    names: dict[tuple[Path, str], str] = {}

    def prepare(place: Path) -> None:
        key = [str(place) + ".key"] if encrypted else []
        Path(str(place) + ".key").unlink(missing_ok=True)
        subprocess.run([*python, "create", str(place), str(level), *key], check=True, cwd=ROOT)

    def save(place: Path, image: Path, step: str) -> list[str]:
        before = {"day 2": "full", "day 3": "day 2"}.get(step)
        parent = [names[place, before]] if before else []
        return _keyed([*python, "save", str(place), str(image), *parent], place)

    def restore(place: Path, target: Path) -> list[str]:
        return _keyed([*python, "restore", str(place), names[place, "day 3"], str(target / "disk.raw")], place)

    def _keyed(argv: list[str], place: Path) -> list[str]:
        return ["/usr/bin/env", f"BENCH_KEY_FILE={place}.key", *argv] if encrypted else argv

    def note(place: Path, step: str, said: str) -> None:
        names[place, step] = said

    return Tool(name, prepare, save, restore, {"PYTHONPATH": str(ROOT)}, note)


def borg(program: str) -> Tool:
    environment = {
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }  # fmt: skip

    def prepare(place: Path) -> None:
        subprocess.run([program, "init", "-e", "none", str(place)], check=True, env={**os.environ, **environment})

    def save(place: Path, image: Path, step: str) -> list[str]:
        options = ["--chunker-params", "fixed,4194304", "-C", "zstd,1", "--sparse"]
        return [program, "create", *options, f"{place}::{step.replace(' ', '-')}", _same_name(image)]

    return Tool(
        BORG, prepare, save, lambda place, target: [program, "extract", "--sparse", f"{place}::day-3"], environment
    )


def restic(program: str) -> Tool:
    environment = {"RESTIC_PASSWORD": "benchmark"}

    def prepare(place: Path) -> None:
        argv = [program, "-q", "-r", str(place), "init", "--repository-version", "2"]
        subprocess.run(argv, check=True, env={**os.environ, **environment})

    def save(place: Path, image: Path, step: str) -> list[str]:
        tag = step.replace(" ", "-")
        return [program, "-q", "--no-cache", "-r", str(place), "backup", "--tag", tag, _same_name(image)]

    def restore(place: Path, target: Path) -> list[str]:
        return [program, "-q", "--no-cache", "-r", str(place), "restore", "latest", "--tag", "day-3", "--target", "."]

    return Tool(RESTIC, prepare, save, restore, environment)


def _same_name(image: Path) -> str:
    """Every day has the same name for the tool, as the disk of one VM has."""
    link = image.parent / "vm" / "disk.raw"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    os.link(image, link)
    return "vm/disk.raw"


def copy() -> Tool:
    return Tool(
        "plain copy",
        lambda place: place.mkdir(),
        lambda place, image, step: ["cp", "--sparse=always", str(image), str(place / image.name)],
        lambda place, target: ["cp", "--sparse=always", str(place / SAVED["day 3"]), str(target / "disk.raw")],
    )


class Bench:
    def __init__(self, folder: Path, tools: list[Tool]):
        self.images, self.folder, self.tools = folder / "images", folder, tools
        self.costs: dict[tuple[str, str], list[Cost]] = {}
        self.stored: dict[tuple[str, str], int] = {}

    def round(self, number: int) -> None:
        turn = self.tools[number % len(self.tools) :] + self.tools[: number % len(self.tools)]
        for tool in turn:
            shutil.rmtree(self._place(tool), ignore_errors=True)
            tool.prepare(self._place(tool))
        for step in STEPS:
            if step != "restore":
                subprocess.run(["cat", str(self.images / SAVED[step])], check=True, stdout=subprocess.DEVNULL)
            for tool in turn:
                cost = self._restore(tool) if step == "restore" else self._save(tool, step)
                self.costs.setdefault((tool.name, step), []).append(cost)
        for tool in turn:
            shutil.rmtree(self._place(tool))

    def _place(self, tool: Tool) -> Path:
        return self.folder / f"repository of {tool.name}".replace(" ", "-")

    def _save(self, tool: Tool, step: str) -> Cost:
        place = self._place(tool)
        argv = tool.save(place, self.images / SAVED[step], step)
        cost, said = measured(argv, tool.environment, self.images)
        tool.note(place, step, said)
        self.stored[tool.name, step] = sum(path.stat().st_blocks * 512 for path in place.rglob("*") if path.is_file())
        return cost

    def _restore(self, tool: Tool) -> Cost:
        target = self.folder / "restored"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        cost, _ = measured(tool.restore(self._place(tool), target), tool.environment, target)
        (found,) = target.rglob("disk.raw")
        subprocess.run(["cmp", str(found), str(self.images / SAVED["day 3"])], check=True)
        shutil.rmtree(target)
        return cost

    def median(self, tool: str, step: str) -> Cost:
        costs = self.costs[tool, step]
        return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__annotations__))

    def table(self) -> list[str]:
        said = [f"{'':24}" + "".join(f"{step:>20}" for step in STEPS) + f"{'peak MiB':>10}{'3 days, clone MB':>18}"]
        for tool in self.tools:
            costs = [self.median(tool.name, step) for step in STEPS]
            cells = "".join(f"{cost.wall_s:>9.2f} /{cost.cpu_s:>7.2f} s" for cost in costs)
            sizes = " / ".join(f"{self.stored[tool.name, step] / 1e6:.0f}" for step in ("day 3", "clone VM"))
            said.append(f"{tool.name:24}{cells}{max(cost.peak_mib for cost in costs):>10.0f}{sizes:>18}")
        return said

    def bars(self) -> list[tuple[str, float, float]]:
        """What is compared, our ratio, the bar. Peers are all but ours and the plain copy."""
        peers = [tool.name for tool in self.tools if not tool.name.startswith(OURS) and tool.name != "plain copy"]
        ours = {step: self.median(OURS, step) for step in STEPS}
        peak = max(cost.peak_mib for cost in ours.values())
        found = [("peak memory, MiB", peak, 150.0)]
        if not peers:
            return found

        def ratio(step: str, kind: str) -> float:
            return float(getattr(ours[step], kind) / min(getattr(self.median(peer, step), kind) for peer in peers))

        found += [("full, CPU / best peer", ratio("full", "cpu_s"), 1.0)]
        if RESTIC in peers:
            found.append(("full, CPU / restic", ours["full"].cpu_s / self.median(RESTIC, "full").cpu_s, 0.35))
        found.append(("full, wall / best peer", ratio("full", "wall_s"), 0.55))
        for step in ("day 2", "day 3"):
            found.append((f"{step}, CPU / best peer", ratio(step, "cpu_s"), 0.6))
            found.append((f"{step}, wall / best peer", ratio(step, "wall_s"), 0.4))
        found.append(("restore, wall / best peer", ratio("restore", "wall_s"), 0.55))
        for step in ("day 3", "clone VM"):
            for peer in peers:
                stored = self.stored[LEVELS[peer], step] / self.stored[peer, step]
                found.append((f"stored after {step} / {peer}", stored, 0.9))
        return found


def chosen_tools(borg_program: Optional[str], restic_program: Optional[str]) -> list[Tool]:
    tools = [onebackup(OURS, 1, False), onebackup(f"{OURS} AES-256", 1, True), onebackup(LEVELS[RESTIC], 3, False)]
    if borg_program:
        tools.append(borg(borg_program))
    if restic_program:
        tools.append(restic(restic_program))
    return [*tools, copy()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--rounds", type=int, default=0, help="default: 1, with --full 3")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/onebackup-bench"))
    parser.add_argument("--borg", default=shutil.which("borg"))
    parser.add_argument("--restic", default=shutil.which("restic"))
    words = parser.parse_args()
    folder = words.folder / ("full" if words.full else "small")
    # In a process of its own: a child's peak begins with that of the process that started it.
    maker = [sys.executable, "-m", "bench.repository_workload", str(folder / "images"), *(["--full"] * words.full)]
    subprocess.run(maker, check=True, cwd=ROOT)
    bench = Bench(folder, chosen_tools(words.borg, words.restic))
    rounds = words.rounds or (3 if words.full else 1)
    for number in range(rounds):
        bench.round(number)
    print(f"wall / CPU, medians of {rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("\n".join(bench.table()), end="\n\n")
    missed = 0
    for name, value, bar in bench.bars():
        missed += value > bar
        print(f"{name:34}{value:>8.2f}   bar {bar:.2f}   {'missed' if value > bar else 'held'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
