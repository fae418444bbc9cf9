# SPDX-License-Identifier: Apache-2.0
"""An OpenNebula front-end's files to install into, a tree to install from, and install.sh as a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_PARTS = ("install.sh", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "etc", "remotes", "share")
STOCK_BACKUP_VMS = b"#!/bin/bash\n# the one that came with OpenNebula\nexit 0\n"
ONED_CONF = """\
LOG = [ SYSTEM = "file", DEBUG_LEVEL = 3 ]

MARKET_MAD = [
    EXECUTABLE = "one_market",
    ARGUMENTS  = "-t 15 -m http,s3,one,linuxcontainers"
]

MARKET_MAD_CONF = [
    NAME = "http", SUNSTONE_NAME = "HTTP server", REQUIRED_ATTRS = "BASE_URL,PUBLIC_DIR",
    APP_ACTIONS = "create, delete, monitor"
]
"""
Completed = subprocess.CompletedProcess  # of text


@dataclass
class Tree:
    """`root`: DESTDIR (empty: none), `location`: ONE_LOCATION (empty: system-wide), `source`: installed from."""

    root: Path
    location: str
    source: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        return "" if self.root == Path() else str(self.root)

    def path(self, name: str) -> Path:
        """Where a file lies: `etc`, `var`, `share`, `lib` are those of the front-end, anything else is absolute."""
        stock = {"etc": "/etc/one", "var": "/var/lib/one", "share": "/usr/share/one", "lib": "/usr/lib/one"}
        first, _, rest = name.partition("/")
        if first in stock:
            base = f"{self.location}/{first}" if self.location else stock[first]
            name = f"{base}/{rest}"
        return Path(f"{self.prefix}{name}")

    @property
    def variables(self) -> dict[str, str]:
        destdir = {"DESTDIR": self.prefix} if self.prefix else {}
        location = {"ONE_LOCATION": self.location} if self.location else {}
        return {"ONEBACKUP_PYTHON": sys.executable, "ONE_XMLRPC": "", **destdir, **location, **self.environment}

    def install(self, *options: str, **environment: str) -> Completed[str]:
        return subprocess.run(
            ["./install.sh", *options],
            cwd=self.source,
            env={**os.environ, "PYTHON": sys.executable, "PIP_NO_INDEX": "1", **self.variables, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=150,
        )


def copy_source(target: Path) -> Path:
    """The tree as it is delivered, to be changed by a test."""
    target.mkdir()
    for name in _PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name)
        else:
            shutil.copy2(ROOT / name, target / name)
    shutil.copytree(
        ROOT / "onebackup_driver", target / "onebackup_driver", ignore=shutil.ignore_patterns("__pycache__")
    )
    return target


def make(tree: Tree, version: str, hook_base: str = "") -> Tree:
    """Put a front-end's files there."""
    remotes = tree.path("var/remotes")
    for folder in (tree.path("etc"), tree.path("share"), tree.path("lib"), remotes / "hooks", remotes / "market"):
        folder.mkdir(parents=True)
    (remotes / "VERSION").write_text(f"{version}\n")
    tree.path("etc/oned.conf").write_text(ONED_CONF)
    tree.path("etc/oned.conf").chmod(0o640)
    shown = hook_base or "/var/lib/one/remotes/hooks"
    tree.path("etc/onehem-server.conf").write_text(f":debug_level: 2\n:hook_base_path: '{shown}'  # as it came\n")
    if version.startswith("6"):
        tree.path("share/backup_vms").write_bytes(STOCK_BACKUP_VMS)
        tree.path("share/backup_vms").chmod(0o755)
    return tree


def snapshot(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every path below: content, mode, time of change."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        if path.is_file()
        else (b"", path.stat().st_mode, 0)
        for path in sorted(root.rglob("*"))
    }


def without_times(found: dict[str, tuple[bytes, int, int]]) -> dict[str, tuple[bytes, int]]:
    return {name: entry[:2] for name, entry in found.items()}


def one_line(completed: Completed[str]) -> str:
    lines = completed.stderr.splitlines()
    assert len(lines) == 1, completed.stderr
    return lines[0]
