# SPDX-License-Identifier: Apache-2.0
"""Names of what a run creates: the run id is in every one, so that nothing of ours is ever lost or taken for another's.

OpenNebula refuses some characters and more than 128 bytes (src/pool/PoolObjectSQL.cc).
"""

from __future__ import annotations

import re

LIMIT_BYTES = 128
_REFUSED = re.compile(r"[&|:\\\";/'#{}$<>\x00-\x1f\x7f]")


def safe(name: str, limit_bytes: int = LIMIT_BYTES) -> str:
    """The name without refused characters, cut at a character's end to at most `limit_bytes` bytes of UTF-8."""
    clean = " ".join(_REFUSED.sub("_", name).split())
    return clean.encode("utf-8", "ignore")[:limit_bytes].decode("utf-8", "ignore").strip() or "VM"


def backup(vm_name: str, moment: str, run: str) -> str:
    """Name of the template and the VMTEMPLATE app, e.g. `web - BACKUP - 20261123_143007 - <run id>`."""
    tail = f" - BACKUP - {moment} - {run}"
    return safe(vm_name, LIMIT_BYTES - len(tail) - len("-disk-9999")) + tail


def disk(backup_name: str, disk_id: int) -> str:
    """Name of the image and the IMAGE app of one disk."""
    return f"{backup_name}-disk-{disk_id}"


def restored(vm_name: str, run: str) -> str:
    """Name of a restored template; the stock `web - RESTORED` with something that never clashes."""
    tail = f" - RESTORED {run}"
    return safe(vm_name, LIMIT_BYTES - len(tail) - len("-disk-9999")) + tail


def carries(name: str, run: str) -> bool:
    """Whether an object of this name was made by the run."""
    return bool(run) and re.search(rf"{re.escape(run)}(?:-disk-\d+)?\Z", name) is not None


_BACKUP_NAME = re.compile(r" - BACKUP - \d{8}_\d{6} - ([0-9a-f]{32})(?:-disk-\d+)?\Z")


def is_run(text: str) -> bool:
    """Whether it is a run id: anything else could be a part of a path."""
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


def run_of_backup(name: str) -> str:
    """The run id in a name that `backup` or `disk` made; empty for any other name."""
    match = _BACKUP_NAME.search(name)
    return match.group(1) if match else ""
