# SPDX-License-Identifier: Apache-2.0
"""What several stories look at afterwards."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, Optional

from sandbox.world.guest import GuestDisk
from tests.e2e import machines
from tests.e2e.site import Result, Site


def good(result: Result) -> Result:
    """Exit 0 and nothing on stderr."""
    assert (result.code, result.err) == (0, ""), result
    return result


def backed_up(site: Site, vm_id: int, *options: object) -> list[int]:
    """Back up; the ids of the restore point's apps, the VM app last."""
    good(site.onebackup("backup", vm_id, *options))
    apps = site.recorded(vm_id)
    assert apps, "nothing was recorded"
    return apps


def restored(result: Result) -> int:
    """The id of the VM that a good restore made."""
    assert result.code == 0, result
    found = re.search(r"^ID: (\d+)\s*\Z", result.out, re.MULTILINE)
    assert found, result
    return int(found[1])


def image_disks(site: Site, vm_id: int) -> list[GuestDisk]:
    """The images of a VM's disks as they lie in the datastore, in the order of the disks; no CD-ROMs."""
    disks = site.info("vm", vm_id).findall("TEMPLATE/DISK[IMAGE_ID]")
    return [image_file(site, int(disk.findtext("IMAGE_ID", ""))) for disk in disks if disk.findtext("TYPE") != "CDROM"]


def image_file(site: Site, number: int) -> GuestDisk:
    element = site.info("image", number)
    return GuestDisk(Path(element.findtext("SOURCE", "")), element.findtext("FORMAT", ""))


def same_bytes(site: Site, vm_id: int, app_ids: list[int]) -> None:
    """The images of a restored VM hold what the marketplace stored."""
    assert machines.contents(image_disks(site, vm_id)) == machines.contents(machines.stored_disks(site, app_ids))


def tags(site: Site, app_id: int) -> dict[str, str]:
    section = site.info("marketapp", app_id).find("TEMPLATE/ONEBACKUP")
    assert section is not None
    return {str(item.tag): item.text or "" for item in section}


def user_attributes(site: Site, vm_id: int) -> list[tuple[str, str]]:
    """All of a VM's user template."""
    return [(str(item.tag), item.text or "") for item in site.info("vm", vm_id).iterfind("USER_TEMPLATE//*")]


def listed(site: Site, vm_id: Optional[int] = None) -> list[dict[str, Any]]:
    arguments = ("list", "--json") if vm_id is None else ("list", vm_id, "--json")
    found: list[dict[str, Any]] = json.loads(good(site.onebackup(*arguments)).out)
    return found


def undone(site: Site, before: dict[str, set[Any]], vm_id: int, state: tuple[int, int] = machines.RUNNING) -> None:
    """The VM is in its state and everything else as it was before the run."""
    assert site.vm_state(vm_id) == state
    as_expected(site, before)


def as_expected(site: Site, expected: dict[str, set[Any]]) -> None:
    """All objects and files are these; the front-end deletes the files of objects a little later."""
    deadline = time.monotonic() + 10
    while site.everything() != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert site.everything() == expected
