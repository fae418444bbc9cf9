# SPDX-License-Identifier: Apache-2.0
"""How each tool of bench.repository makes a repository, saves a day and restores the third one."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from bench import repository_workload as workload
from bench.measuring import ROOT
from tests.market.driving import Front

#: A plain save and restore of the repository; encrypted; and the marketplace driver as oned starts it.
OURS, ENCRYPTED, DRIVER = "onebackup", "onebackup AES-256", "onebackup import"
BORG, BORG_FAST, RESTIC, COPY = "borg zstd 1", "borg lz4", "restic fastest", "plain copy"
PEERS = (BORG, BORG_FAST, RESTIC)
SAVED = dict(zip(("full", "day 2", "day 3", "clone VM"), workload.IMAGES))
_BEFORE = {"day 2": "full", "day 3": "day 2"}
STEPS = [sys.executable, "-m", "bench.repository_steps"]


@dataclass
class Tool:
    """`prepare` makes a repository, `save` and `restore` give the command of a step; `note` hears what a save said."""

    name: str
    prepare: Callable[[Path], None]
    save: Callable[[Path, Path, str], list[str]]
    restore: Optional[Callable[[Path, Path], list[str]]]
    environment: dict[str, str] = field(default_factory=dict)
    note: Callable[[Path, str, str], None] = lambda place, step, said: None


def onebackup(name: str, encrypted: bool = False) -> Tool:
    """The repository alone: what borg and restic do."""
    names: dict[tuple[Path, str], str] = {}

    def prepare(place: Path) -> None:
        subprocess.run([*STEPS, "create", str(place), "1", *([f"{place}.key"] * encrypted)], check=True, cwd=ROOT)

    def save(place: Path, image: Path, step: str) -> list[str]:
        parent = [names[place, _BEFORE[step]]] if step in _BEFORE else []
        return keyed([*STEPS, "save", str(place), str(image), *parent], place)

    def restore(place: Path, target: Path) -> list[str]:
        return keyed([*STEPS, "restore", str(place), names[place, "day 3"], str(target / "disk.raw")], place)

    def keyed(argv: list[str], place: Path) -> list[str]:
        return ["/usr/bin/env", f"BENCH_KEY_FILE={place}.key", *argv] if encrypted else argv

    def note(place: Path, step: str, said: str) -> None:
        names[place, step] = said

    return Tool(name, prepare, save, restore, {"PYTHONPATH": str(ROOT)}, note)


def driver() -> Tool:
    """Action `import`: also reads all back from the repository, for the MD5 that oned wants of what will be served."""

    def save(place: Path, image: Path, step: str) -> list[str]:
        return front(place).import_argv(image, "8" if step == "clone VM" else "7")

    def prepare(place: Path) -> None:
        front(place).prepare()

    return Tool(DRIVER, prepare, save, None)


class BenchFront(Front):
    """A front-end's state directory and repository below one folder."""

    def prepare(self) -> None:
        self.configure()
        made = self.onebackup("repository", "create", self.market["REPOSITORY"])
        if made.code:
            raise RuntimeError(made.err)

    def import_argv(self, image: Path, vm_id: str) -> list[str]:
        """The command by which oned has an image stored, with its environment."""
        word = base64.b64encode(self.import_xml(image, "raw", VM_ID=vm_id).encode()).decode()
        action = ROOT / "remotes" / "market" / "onebackup" / "import"
        inside = [f"ONE_LOCATION={self.folder}", f"HOME={self.folder}"]
        return ["/usr/bin/env", *inside, sys.executable, "-I", str(action), word, "5"]


def front(place: Path) -> BenchFront:
    """The front-end of the driver whose repository is below `place`."""
    place.mkdir(parents=True, exist_ok=True)
    return BenchFront(place / "one", {"REPOSITORY": f"dir:{place / 'repository'}"})


def source(said: str) -> str:
    """SOURCE in the answer of an import."""
    return str(re.findall(r'^SOURCE="([^"]*)"$', said, re.MULTILINE)[0])


def borg(name: str, program: str, compression: str) -> Tool:
    """Fixed chunks: half the CPU of content-defined ones, and no larger for disks. Not encrypted."""
    environment = {
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }  # fmt: skip

    def at_home(place: Path, *words: str) -> list[str]:
        return ["/usr/bin/env", f"BORG_BASE_DIR={place}.home", program, *words]

    def prepare(place: Path) -> None:
        subprocess.run(at_home(place, "init", "-e", "none", str(place)), check=True, env={**os.environ, **environment})

    def save(place: Path, image: Path, step: str) -> list[str]:
        options = ["--chunker-params", "fixed,4194304", "-C", compression, "--sparse"]
        return at_home(place, "create", *options, f"{place}::{step.replace(' ', '-')}", _same_name(image))

    def restore(place: Path, target: Path) -> list[str]:
        return at_home(place, "extract", "--sparse", f"{place}::day-3")

    return Tool(name, prepare, save, restore, environment)


def restic(program: str) -> Tool:
    """Fastest compression, no second look at what was compressed, larger packs; it always encrypts."""
    environment = {"RESTIC_PASSWORD": "benchmark", "RESTIC_COMPRESSION": "fastest", "RESTIC_PACK_SIZE": "64"}

    def prepare(place: Path) -> None:
        argv = [program, "-q", "-r", str(place), "init", "--repository-version", "2"]
        subprocess.run(argv, check=True, env={**os.environ, **environment})

    def save(place: Path, image: Path, step: str) -> list[str]:
        tag = step.replace(" ", "-")
        options = ["--no-scan", "--no-extra-verify", "--tag", tag]
        return [program, "-q", "--no-cache", "-r", str(place), "backup", *options, _same_name(image)]

    def restore(place: Path, target: Path) -> list[str]:
        words = ["restore", "latest", "--tag", "day-3", "--sparse", "--target", "."]
        return [program, "-q", "--no-cache", "-r", str(place), *words]

    return Tool(RESTIC, prepare, save, restore, environment)


def _same_name(image: Path) -> str:
    """Every day has the same name for the tool, as the disk of one VM has."""
    link = image.parent / "vm" / "disk.raw"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    os.link(image, link)
    return "vm/disk.raw"


def copy() -> Tool:
    """What the stock marketplace driver does: a whole file for each restore point."""
    return Tool(
        COPY,
        lambda place: place.mkdir(),
        lambda place, image, step: ["cp", "--sparse=always", str(image), str(place / image.name)],
        lambda place, target: ["cp", "--sparse=always", str(place / SAVED["day 3"]), str(target / "disk.raw")],
    )
