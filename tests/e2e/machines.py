# SPDX-License-Identifier: Apache-2.0
"""VMs for the tests, made through the API: small disks, in the state that is wanted."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.demo import proof
from sandbox.world import guest
from sandbox.world.guest import GuestDisk
from tests.e2e.site import Site, unique, wait

RUNNING, POWEROFF, SUSPENDED, STOPPED, UNDEPLOYED = (3, 3), (8, 0), (5, 0), (4, 0), (9, 0)
PENDING, HOLD, DONE = (1, 0), (2, 0), (6, 0)
_ACTIONS = {POWEROFF: "poweroff", SUSPENDED: "suspend", STOPPED: "stop", UNDEPLOYED: "undeploy", DONE: "terminate-hard"}


@dataclass(frozen=True)
class Disk:
    """An image to make. With `guest` a disk needs 4 MB at least to be written to."""

    size_mb: int = 1
    format: str = "raw"
    persistent: bool = False
    kind: str = "DATABLOCK"
    random: bool = False


ONE_DISK = (Disk(),)
TWO_DISKS = (Disk(), Disk(2, "qcow2", persistent=True))
GUEST_DISKS = (Disk(8, "qcow2", kind="OS", random=True), Disk(6, "raw", persistent=True, random=True))


def image(site: Site, disk: Disk) -> int:
    """An image that is READY."""
    values = {"NAME": unique("disk"), "TYPE": disk.kind, "PERSISTENT": "YES" if disk.persistent else "NO",
              "FORMAT": disk.format}  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="onebackup-e2e-", dir="/var/tmp") as folder:
        if disk.random:
            values["PATH"] = str(Path(folder) / "disk")
            proof.make_disk(Path(values["PATH"]), values["NAME"], disk.size_mb, disk.format)
        elif disk.kind == "CDROM":
            values["PATH"] = str(Path(folder) / "disk")
            Path(values["PATH"]).write_bytes(b"\0" * disk.size_mb * proof.MIB)
        else:
            values["SIZE"] = str(disk.size_mb)
        text = "\n".join(f'{key}="{value}"' for key, value in values.items())
        number = int(site.call("one.image.allocate", text, 1))
        wait(f"image {number}", lambda: site.info("image", number).findtext("STATE") == "1")
    return number


def machine(
    site: Site,
    disks: Sequence[Disk] = ONE_DISK,
    state: tuple[int, int] = RUNNING,
    guest: bool = False,
    backup: str = "FREQUENCY_SECONDS=\"86400\"",
    more: str = "",
    name: str = "",
) -> int:
    """A VM in a state. `backup`: its BACKUP section but for the marketplace; "-" for none. `more`: template text."""
    lines = [f'NAME="{name or unique("vm")}"', 'CPU="0.1"', 'MEMORY="64"', more]
    lines += [f'DISK=[IMAGE_ID="{image(site, disk)}"]' for disk in disks]
    if backup != "-":
        lines.append(f'BACKUP=[{", ".join(filter(None, (backup, market_in(site, backup))))}]')
    if not guest:
        lines.append('GUEST="none"')
    if state == PENDING:
        lines.append('SCHED_REQUIREMENTS="ID=99999"')
    vm_id = int(site.call("one.vm.allocate", "\n".join(lines), state == HOLD))
    if state in (PENDING, HOLD):
        return vm_id
    await_state(site, vm_id, RUNNING)
    if guest:
        await_guest(site, vm_id, 3)
    bring_to(site, vm_id, state)
    return vm_id


def market_in(site: Site, backup: str) -> str:
    return "" if "MARKETPLACE_ID" in backup else f'MARKETPLACE_ID="{site.market}"'


def bring_to(site: Site, vm_id: int, state: tuple[int, int]) -> None:
    if state in _ACTIONS:
        site.call("one.vm.action", _ACTIONS[state], vm_id)
        await_state(site, vm_id, state)


def await_state(site: Site, vm_id: int, state: tuple[int, int]) -> None:
    wait(f"VM {vm_id} in {state}", lambda: site.vm_state(vm_id) == state)


def kvm_host(site: Site) -> int:
    return int(site.call("one.host.allocate", unique("kvm"), "kvm", "kvm", 0))


def user(site: Site) -> int:
    return int(site.call("one.user.allocate", unique("tenant"), "secret", "core"))


def backup_section(site: Site, vm_id: int, section: str) -> None:
    """Replace BACKUP by `section`."""
    site.call("one.vm.update", vm_id, f"BACKUP=[{section}]", 1)


def make_due(site: Site, vm_id: int) -> None:
    """Let the last backup of a VM be a day old."""
    section = site.info("vm", vm_id).find("USER_TEMPLATE/BACKUP")
    assert section is not None
    values = {str(item.tag): item.text or "" for item in section}
    values["LAST_BACKUP_TIME"] = str(int(values["LAST_BACKUP_TIME"]) - 90000)
    backup_section(site, vm_id, ",".join(f'{key}="{value}"' for key, value in values.items()))


# -- what is on the disks


def disk_path(site: Site, vm_id: int, disk_id: int) -> Path:
    return Path(site.front_end.control("vm_disk", vm=vm_id, disk=disk_id))


def vm_disks(site: Site, vm_id: int) -> list[GuestDisk]:
    """The disks of a VM as they lie on its host, CD-ROMs left out."""
    found = []
    for disk in site.info("vm", vm_id).findall("TEMPLATE/DISK"):
        if disk.findtext("TYPE") != "CDROM":
            path = disk_path(site, vm_id, int(disk.findtext("DISK_ID", "")))
            found.append(GuestDisk(path, disk.findtext("FORMAT", "raw")))
    return found


def stored_disks(site: Site, app_ids: Sequence[int]) -> list[GuestDisk]:
    """The files a marketplace stored for image apps."""
    return [GuestDisk(site.stored_file(number), site.info("marketapp", number).findtext("FORMAT", ""))
            for number in app_ids]  # fmt: skip


def contents(disks: Sequence[GuestDisk]) -> list[proof.Content]:
    return [proof.content(disk.path, disk.format) for disk in disks]


def await_guest(site: Site, vm_id: int, beyond: int) -> None:
    disks = vm_disks(site, vm_id)
    wait(f"the guest of VM {vm_id}", lambda: all((item or 0) > beyond for item in guest.inspect(disks).counters))
