# SPDX-License-Identifier: Apache-2.0
"""A restore point as the marketplace has it, and a restored VM, disk by disk."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sandbox.demo import machine, proof
from sandbox.demo.api import Api, text
from sandbox.demo.keeper import Place
from sandbox.demo.machine import DISKS, Machine
from sandbox.demo.proof import Content
from sandbox.world import guest
from sandbox.world.guest import GuestDisk


class NotProven(Exception):
    """Something is not as it has to be; the text is one line."""


@dataclass(frozen=True)
class Stored:
    """One disk of a restore point, as the marketplace has it."""

    app: int
    disk: GuestDisk
    content: Content


def read_restore_point(front_end: Api, place: Place, vm: int) -> list[Stored]:
    """The files behind the apps named on the VM: image apps first, the VM app last."""
    ids = text(front_end.info("vm", vm), "USER_TEMPLATE/BACKUP/MARKETPLACE_APP_IDS").split(",")
    if len(ids) != len(DISKS) + 1:
        raise NotProven(f"a restore point of {len(DISKS)} disks has {len(DISKS) + 1} apps, not {len(ids)}")
    return [read_app(front_end.info("marketapp", int(app)), place) for app in ids[:-1]]


def read_app(app: ElementTree.Element, place: Place) -> Stored:
    source, format = text(app, "SOURCE"), text(app, "FORMAT")
    if not source.startswith(place.market_url):
        raise NotProven(f"app {text(app, 'ID')} is not stored in the marketplace but at {source}")
    path = Path(place.public_dir) / source.rsplit("/", 1)[1]
    return Stored(int(text(app, "ID")), GuestDisk(path, format), proof.content(path, format))


def require_clean(stored: list[Stored]) -> int:
    """The last record on all disks of a restore point; NotProven unless they are one clean state."""
    evidence = guest.inspect([disk.disk for disk in stored])
    if not evidence.consistent:
        raise NotProven(f"the saved disks are not one clean state: records {evidence.counters}")
    return evidence.counters[0] or 0


def compare(front_end: Api, original: Machine, stored: list[Stored], restored: int) -> None:
    """Every restored disk against what was stored, and its files against what was there in the beginning."""
    document = front_end.info("vm", restored)
    disks = sorted(document.findall("TEMPLATE/DISK"), key=lambda disk: int(text(disk, "DISK_ID")))
    disks = [disk for disk in disks if disk.findtext("IMAGE_ID")]
    if len(disks) != len(stored):
        raise NotProven(f"VM {restored} has {len(disks)} image disks instead of {len(stored)}")
    print(f"{'disk':6} {'size':>6}  {'sha256 as stored':24} {'sha256 as restored':24} last record")
    images = []
    for plan, disk, before, first in zip(DISKS, disks, stored, original.originals):
        image = restored_image(front_end, int(text(disk, "IMAGE_ID")))
        images.append(image)
        compare_disk(plan.name, before, image, first)
    if not guest.inspect(images).consistent:
        raise NotProven("the restored disks are not one clean state")
    if machine.addresses(document) != original.network:
        raise NotProven(f"the network is {machine.addresses(document)} instead of {original.network}")
    print(f"network {' '.join(f'{ip} {mac}' for ip, mac in original.network)}, as before")


def restored_image(front_end: Api, image: int) -> GuestDisk:
    front_end.wait_for_image_settled(image)
    document = front_end.info("image", image)
    return GuestDisk(Path(text(document, "SOURCE")), text(document, "FORMAT"))


def compare_disk(name: str, before: Stored, image: GuestDisk, original: Content) -> None:
    after = proof.content(image.path, image.format)
    evidence = guest.inspect([image]).disks[0]
    mark = "clean" if evidence.clean else "NOT CLEAN"
    print(
        f"{name:6} {after.size_mb:>3} MB  {before.content.everything[:20]}…    {after.everything[:20]}…    "
        f"{evidence.counter} ({mark})"
    )
    if after != before.content:
        raise NotProven(f"disk {name} differs from what was stored")
    if after.files != original.files:
        raise NotProven(f"disk {name} differs from what was on it in the beginning")
