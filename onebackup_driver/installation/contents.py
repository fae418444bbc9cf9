# SPDX-License-Identifier: Apache-2.0
"""Which files of this tree go where on a front-end, and as what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from onebackup_driver.installation import placing, schedule
from onebackup_driver.installation.locating import Place
from onebackup_driver.installation.placing import Item

_INTERPRETER = re.compile(rb"\A#![^\n]*python[^\n]*\n")
#: The kernel reads no further (BINPRM_BUF_SIZE of Linux before 5.1), and knows no quotes.
_LONGEST_INTERPRETER = 127
_COMMAND = b"""#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
import sys

from onebackup_driver.cli import main

sys.exit(main.main())
"""


def items(place: Place, source: Path, python: str, scheduled: str) -> list[Item]:
    """Every file but the completion (it needs the packages). `python`: what runs the scripts; `scheduled`: systemd,
    cron or nothing."""
    found = [
        *_remotes(place, source, python),
        Item(place.programs / "onebackup", script(_COMMAND, python), 0o755),
        _script(source / "share" / "onevm", place.wrappers / "onevm", python, placing.WRAPPER),
        *_hook_templates(place, source),
        *schedule.items(place, source, scheduled),
        Item(
            configuration(place),
            (source / "etc" / "onebackup.yaml").read_bytes(),
            0o640,
            0 if not place.location else place.user.uid,
            place.user.gid,
            placing.CONFIGURATION,
        ),
    ]
    if (source / "share" / "backup_vms").is_file():
        found.append(_script(source / "share" / "backup_vms", backup_vms(place), python))
    return found


def configuration(place: Place) -> Path:
    """The site's configuration."""
    return place.etc / "onebackup.yaml"


def backup_vms(place: Place) -> Path:
    """What cron starts, at the place of the stock one."""
    return place.share / "backup_vms"


def completion(place: Place, text: str) -> Item:
    """The completion of bash, where bash-completion looks for it."""
    folder = place.share / "onebackup" if place.location else Path("/usr/share/bash-completion/completions")
    return Item(folder / "onebackup", text.encode(), 0o644)


def has_market_driver(source: Path) -> bool:
    """Whether this tree has our marketplace driver."""
    return any(_files(source / "remotes" / "market" / "onebackup"))


def script(content: bytes, python: str) -> bytes:
    """A Python script with the interpreter that has our package; -I keeps PYTHONPATH and the like out of it."""
    if len(python) + 5 <= _LONGEST_INTERPRETER and not re.search(r"\s", python):
        line = f"#!{python} -I\n"
    else:
        quoted = python.replace("'", "'\"'\"'")
        line = f"#!/bin/sh\n'''exec' '{quoted}' -I \"$0\" \"$@\" #'''\n"
    return _INTERPRETER.sub(lambda _: line.encode(), content, count=1)


def _remotes(place: Place, source: Path, python: str) -> Iterator[Item]:
    remotes = source / "remotes"
    for folder, target in ((remotes / "hooks", place.hook_base), (remotes / "market", place.remotes / "market")):
        for path in _files(folder):
            content = script(path.read_bytes(), python)
            mode = 0o755 if content.startswith(b"#!") else 0o644
            yield Item(target / path.relative_to(folder), content, mode, place.user.uid, place.user.gid)


def _script(path: Path, target: Path, python: str, kind: str = placing.PROGRAM) -> Item:
    return Item(target, script(path.read_bytes(), python), 0o755, kind=kind)


def _hook_templates(place: Place, source: Path) -> Iterator[Item]:
    for path in _files(source / "share" / "hooks"):
        yield Item(place.hook_templates / path.name, path.read_bytes(), 0o644)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
