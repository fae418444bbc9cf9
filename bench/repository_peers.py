# SPDX-License-Identifier: Apache-2.0
"""The newest borg (PyPI) and restic (Debian unstable), installed into a folder of the bench's own.

The system is not changed: borg gets a virtual environment, restic's package is only unpacked. What cannot be had is
replaced by the program of the system, if there is one; the table says which versions were measured.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

BORG = "borgbackup==1.4.5"
_DEBIAN = Path("/etc/apt/sources.list.d/debian.sources")


def borg(folder: Path) -> Optional[str]:
    """The program; building it needs a C compiler and libssl-dev libacl1-dev liblz4-dev libzstd-dev libxxhash-dev."""
    program = folder / "borg" / "bin" / "borg"
    if not program.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder / "borg")], check=True)
            subprocess.run([str(folder / "borg/bin/pip"), "-q", "install", BORG], check=True)
        except subprocess.CalledProcessError as error:
            print(f"{BORG} cannot be installed: {error}", file=sys.stderr)
    return str(program) if program.exists() else shutil.which("borg")


def restic(folder: Path) -> Optional[str]:
    """The program, from the Debian mirror of this system; it needs no library newer than those of Debian 12."""
    program = folder / "restic" / "usr" / "bin" / "restic"
    if not program.exists() and _DEBIAN.exists():
        try:
            _unpack_package("restic", folder / "restic")
        except subprocess.CalledProcessError as error:
            print(f"no restic from Debian unstable: {error}", file=sys.stderr)
    return str(program) if program.exists() else shutil.which("restic")


def version(program: str) -> str:
    """Its name and version."""
    said = subprocess.run([program, "version" if "restic" in program else "-V"], check=True, capture_output=True)
    return " ".join(said.stdout.decode().split()[:2])


def _unpack_package(name: str, target: Path) -> None:
    lists = target / "apt"
    for place in ("lists/partial", "cache/archives/partial", "sources"):
        (lists / place).mkdir(parents=True, exist_ok=True)
    (lists / "sources" / "unstable.sources").write_text(_unstable(_DEBIAN.read_text(encoding="utf-8")))
    options = {
        "Dir::State::lists": lists / "lists", "Dir::State::status": "/dev/null", "Dir::Cache": lists / "cache",
        "Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": lists / "sources", "APT::Sandbox::User": "root",
    }  # fmt: skip
    words = [word for option, value in options.items() for word in ("-o", f"{option}={value}")]
    subprocess.run(["apt-get", "-q", *words, "update"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["apt-get", "-q", *words, "download", name], check=True, stdout=subprocess.DEVNULL, cwd=lists)
    (package,) = lists.glob(f"{name}_*.deb")
    subprocess.run(["dpkg", "-x", str(package), str(target)], check=True)
    shutil.rmtree(lists)


def _unstable(sources: str) -> str:
    """The first stanza of this system's own sources, with the suite `sid`."""
    stanza = "\n".join(line for line in sources.split("\n\n")[0].splitlines() if not line.startswith("#"))
    return re.sub(r"^Suites:.*$", "Suites: sid", stanza, flags=re.MULTILINE) + "\n"
