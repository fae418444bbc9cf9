# SPDX-License-Identifier: Apache-2.0
"""The restore point that a disk is compared with: its last one. A wrong or a missing one only costs time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from onebackup_driver import errors, files, paths, repositories, xml_values
from onebackup_driver.market import payload
from onebackup_driver.repository.repository import Repository

#: So many of the newest restore points are looked through when this front-end does not remember the last one.
_LOOKED_THROUGH = 200
_AT_ONCE = 32


def series(request: payload.Request) -> str:
    """Which disk of which VM it is, as `<zone>-<vm>-<disk>`; empty when nobody says."""
    tags, image = request.app.tags, request.image
    zone = xml_values.number(request.app_element, "ZONE_ID", 0)
    vm_id, disk_id = (xml_values.whole_number(tags.get(name, "")) for name in ("VM_ID", "DISK_ID"))
    if (vm_id is None or disk_id is None) and image is not None:  # saved by hand: onevm disk-saveas
        vm_id, disk_id = (xml_values.number(image, f"TEMPLATE/SAVED_{name}_ID") for name in ("VM", "DISK"))
    if vm_id is None or disk_id is None or vm_id < 0 or disk_id < 0:
        return ""
    return f"{zone}-{vm_id}-{disk_id}"


def find(where: paths.Paths, opened: Repository, wanted: str) -> str:
    """The name of the last restore point of a series; empty when there is none."""
    if not wanted:
        return ""
    try:
        name = _note(where, opened, wanted).read_text(encoding="ascii").strip()
        if _is_of(opened, name, wanted):
            return name
    except (OSError, UnicodeDecodeError):
        pass
    return _newest(opened, wanted)


def _newest(opened: Repository, wanted: str) -> str:
    """Several are asked for at once: a request to S3 waits for its answer."""
    names = opened.names()[: -_LOOKED_THROUGH - 1 : -1]
    with ThreadPoolExecutor(opened.store.parallel) as pool:
        for begin in range(0, len(names), _AT_ONCE):
            part = names[begin : begin + _AT_ONCE]
            for name, is_of in zip(part, pool.map(lambda name: _is_of(opened, name, wanted), part)):
                if is_of:
                    return name
    return ""


def remember(where: paths.Paths, opened: Repository, wanted: str, name: str) -> None:
    """Note the last restore point of a series."""
    if wanted:
        path = _note(where, opened, wanted)
        files.make_private_directory(path.parent)
        files.write(path, name.encode("ascii"))


def _is_of(opened: Repository, name: str, wanted: str) -> bool:
    try:
        return bool(opened.load(name).facts.get("series") == wanted)
    except errors.Error:
        return False  # deleted, or damaged: verify says so


def _note(where: paths.Paths, opened: Repository, wanted: str) -> Path:
    return where.state / "parents" / repositories.identity(opened) / wanted
