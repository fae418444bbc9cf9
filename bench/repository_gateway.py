# SPDX-License-Identifier: Apache-2.0
"""Restoring through the gateway, as the stock downloader does (curl to a file), beside the direct restore.

disk.qcow2 is what a qcow2 disk is served as: only data travels. disk.raw is what a raw disk is served as: its holes
travel as well, and curl writes them out.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

from bench import measuring, repository_days, repository_tools
from bench.measuring import Running, Samples
from bench.repository_tools import SAVED

STEP, SERVER = "gateway", "gateway process"
DIRECT, QCOW2, RAW = "direct", "curl disk.qcow2", "curl disk.raw"


class Gateway:
    """Three days are imported by the driver when this is made; `round` restores the third in each way."""

    def __init__(self, folder: Path, samples: Samples):
        self._folder, self._samples = folder, samples
        self._place, self._original = folder / "tools" / "gateway", folder / "images" / SAVED["day 3"]
        shutil.rmtree(self._place, ignore_errors=True)
        self._front = repository_tools.front(self._place)
        self._front.prepare()
        for step in ("full", "day 2", "day 3"):
            _, said = measuring.run(self._front.import_argv(folder / "images" / SAVED[step], "7"))
        self._source = repository_tools.source(said)

    def round(self, number: int) -> None:
        ways = [DIRECT, QCOW2, RAW]
        for way in ways[number % 3 :] + ways[: number % 3]:
            self._direct() if way == DIRECT else self._curl(way)

    def close(self) -> None:
        shutil.rmtree(self._place)

    def _direct(self) -> None:
        repository, name = self._place / "repository", self._source.split("/")[-2]
        target = self._folder / "restored"
        argv = [*repository_tools.STEPS, "restore", str(repository), name, str(target / "disk.raw")]
        environment = {"PYTHONPATH": str(measuring.ROOT)}
        cost = repository_days.restored(argv, environment, target, self._original)
        self._samples.add(STEP, DIRECT, cost, repository_days.stored_mb(self._original))

    def _curl(self, way: str) -> None:
        inside = {"ONE_LOCATION": str(self._front.folder), "HOME": str(self._front.folder)}
        program = str(Path(sys.executable).with_name("onebackup"))
        serving = Running([program, "gateway", "--port", "0"], inside)
        try:
            url = serving.line().split()[1]
            path = self._source.split("/", 3)[3].rsplit(".", 1)[0] + "." + way.rsplit(".", 1)[1]
            target = self._folder / path.rsplit("/", 1)[1]
            target.unlink(missing_ok=True)
            cost, _ = measuring.run(["curl", "-sSf", "-o", str(target), f"{url}/{path}"])
        finally:
            serving.process.send_signal(signal.SIGTERM)
        served, _ = serving.end()
        kind = target.suffix.lstrip(".")
        compare = ["qemu-img", "compare", "-q", "-f", kind, "-F", "raw", str(target), str(self._original)]
        subprocess.run(["cmp", target, self._original] if kind == "raw" else compare, check=True)
        self._samples.add(STEP, way, cost, target.stat().st_size / 1e6)
        self._samples.add(f"{STEP}: server", way, served)
        target.unlink()
