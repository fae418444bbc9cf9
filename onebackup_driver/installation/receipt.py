# SPDX-License-Identifier: Apache-2.0
"""What was installed: one file of our own beside the virtual environment, so that a second run changes nothing and
--uninstall removes exactly what came from us.

It is written before the first file is touched and once more at the end: an installation that died is known too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onebackup_driver import errors, files

FORMAT = 1
NAME = "installed.json"


@dataclass
class Receipt:
    """`files`: path -> SHA-256 of what we put there (of a configuration: the default we delivered last) · `aside`:
    path -> where what was there before went · `directories`: made by us, outermost first · `oned_conf`: which of
    our two changes (`list`, `block`) are in it, and `backup`, its copy · `hooks`: whether they were registered ·
    `schedule`: systemd, cron or nothing · `gateway`: whether its service was started · `package`: of which code."""

    version: str = ""
    files: dict[str, str] = field(default_factory=dict)
    aside: dict[str, str] = field(default_factory=dict)
    directories: list[str] = field(default_factory=list)
    oned_conf: dict[str, Any] = field(default_factory=dict)
    hooks: bool = False
    schedule: str = ""
    gateway: bool = False
    package: str = ""


def digest(content: bytes) -> str:
    """What `files` holds of a file."""
    return hashlib.sha256(content).hexdigest()


def load(directory: Path) -> Receipt:
    """The receipt of an installation, an empty one where there is none. Raises Failed when it cannot be read."""
    path = directory / NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("format") != FORMAT:
            raise errors.Failed(f"{path} was written by another version of onebackup; use that one's install.sh")
        return Receipt(**document)
    except FileNotFoundError:
        return Receipt()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.Failed(f"cannot read {path}: {error!r}") from error


def save(directory: Path, receipt: Receipt) -> None:
    """Write it, unless it says that already; everybody may read it (`onebackup doctor` does)."""
    text = json.dumps({"format": FORMAT, **vars(receipt)}, indent=1, sort_keys=True) + "\n"
    path = directory / NAME
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except OSError:
        pass
    files.write(path, text.encode())
    path.chmod(0o644)
