# SPDX-License-Identifier: Apache-2.0
"""A restore point as the gateway serves it, and a restored VM, disk by disk."""
from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sandbox.demo import machine, proof
from sandbox.demo.api import Api, text
from sandbox.demo.machine import DISKS, Machine
from sandbox.demo.proof import Content
from sandbox.world import guest
from sandbox.world.guest import GuestDisk


class NotProven(Exception):
    """Something is not as it has to be; the text is one line."""


@dataclass(frozen=True)
class Stored:
    """One disk of a restore point, as the gateway serves it."""

    app: int
    disk: GuestDisk
    content: Content


def read_restore_point(front_end: Api, vm: int, folder: Path) -> list[Stored]:
    """The disks behind the apps named on the VM (image apps first, the VM app last), downloaded into `folder`."""
    ids = text(front_end.info("vm", vm), "USER_TEMPLATE/BACKUP/MARKETPLACE_APP_IDS").split(",")
    if len(ids) != len(DISKS) + 1:
        raise NotProven(f"a restore point of {len(DISKS)} disks has {len(DISKS) + 1} apps, not {len(ids)}")
    return [download(front_end.info("marketapp", int(app)), folder) for app in ids[:-1]]


def download(app: ElementTree.Element, folder: Path) -> Stored:
    """As OpenNebula's downloader.sh does it: from the app's SOURCE, with curl."""
    number, source, format = text(app, "ID"), text(app, "SOURCE"), text(app, "FORMAT")
    path = folder / f"app-{number}"
    done = subprocess.run(
        ["curl", "--fail", "-sS", "-k", "-L", "-o", str(path), source], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise NotProven(f"app {number} cannot be downloaded: {done.stderr.strip()}")
    if hashlib.md5(path.read_bytes()).hexdigest() != text(app, "MD5"):
        raise NotProven(f"app {number} is not what its MD5 says")
    return Stored(int(number), GuestDisk(path, format), proof.content(path, format))


def require_clean(stored: list[Stored], originals: list[Content]) -> int:
    """The last record on all disks of a restore point; NotProven unless they are one clean state, and what is not the
    guest's is as it was in the beginning."""
    evidence = guest.inspect([disk.disk for disk in stored])
    if not evidence.consistent:
        raise NotProven(f"the saved disks are not one clean state: records {evidence.counters}")
    for plan, disk, original in zip(DISKS, stored, originals):
        if disk.content.files != original.files:
            raise NotProven(f"disk {plan.name} differs from what was on it in the beginning")
    return evidence.counters[0] or 0


def compare(front_end: Api, original: Machine, saved: list[Content], restored: int) -> int:
    """Every restored disk against what was on it when it was saved; the last record of their guest."""
    document = front_end.info("vm", restored)
    disks = sorted(document.findall("TEMPLATE/DISK"), key=lambda disk: int(text(disk, "DISK_ID")))
    disks = [disk for disk in disks if disk.findtext("IMAGE_ID")]
    if len(disks) != len(saved):
        raise NotProven(f"VM {restored} has {len(disks)} image disks instead of {len(saved)}")
    print(f"{'disk':6} {'size':>6}  {'sha256 when shut down':24} {'sha256 as restored':24} last record")
    images = [restored_image(front_end, int(text(disk, "IMAGE_ID"))) for disk in disks]
    for plan, before, image in zip(DISKS, saved, images):
        compare_disk(plan.name, before, image)
    evidence = guest.inspect(images)
    if not evidence.consistent:
        raise NotProven("the restored disks are not one clean state")
    if machine.addresses(document) != original.network:
        raise NotProven(f"the network is {machine.addresses(document)} instead of {original.network}")
    print(f"network {' '.join(f'{ip} {mac}' for ip, mac in original.network)}, as before")
    return evidence.counters[0] or 0


def restored_image(front_end: Api, image: int) -> GuestDisk:
    front_end.wait_for_image_settled(image)
    document = front_end.info("image", image)
    return GuestDisk(Path(text(document, "SOURCE")), text(document, "FORMAT"))


def compare_disk(name: str, before: Content, image: GuestDisk) -> None:
    after = proof.content(image.path, image.format)
    evidence = guest.inspect([image]).disks[0]
    mark = "clean" if evidence.clean else "NOT CLEAN"
    print(
        f"{name:6} {after.size_mb:>3} MB  {before.everything[:20]}…    {after.everything[:20]}…    "
        f"{evidence.counter} ({mark})"
    )
    if after != before:
        raise NotProven(f"disk {name} differs from what was on it when it was saved")
