# SPDX-License-Identifier: Apache-2.0
"""The demonstration's VM: made from files, described, destroyed, started again."""
from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sandbox.demo import api, proof
from sandbox.demo.api import Api, Refused, text
from sandbox.demo.keeper import Place
from sandbox.demo.proof import Content
from sandbox.world import guest
from sandbox.world.guest import GuestDisk

DATASTORE = 1
VM_NAME = "web-1"
NEW_FILES_MB = 6


@dataclass(frozen=True)
class DiskPlan:
    """A disk of the demonstration's VM."""

    name: str
    size_mb: int
    format: str
    attributes: str

    @property
    def words(self) -> str:
        kind = "persistent" if "PERSISTENT" in self.attributes else "non-persistent"
        return f"{self.name} ({self.format}, {self.size_mb} MB, {kind})"


DISKS = (
    DiskPlan("os", 64, "qcow2", 'TYPE="OS"'),
    DiskPlan("data", 48, "raw", 'TYPE="DATABLOCK" PERSISTENT="YES"'),
)


@dataclass(frozen=True)
class Machine:
    """The VM, its images, and what was on them before any guest wrote."""

    vm: int
    images: list[int]
    originals: list[Content]
    network: list[tuple[str, str]]


def create_marketplace(front_end: Api, place: Place) -> int:
    return int(
        front_end.call(
            "one.market.allocate",
            f'NAME="backups"\nMARKET_MAD="onebackup"\nREPOSITORY="dir:{place.repository}"',
        )
    )


def create_machine(front_end: Api, market: int) -> Machine:
    """Images from files, a network, a template, and the VM; returns when it runs and its guest writes."""
    images, originals = [], []
    with tempfile.TemporaryDirectory(prefix="onebackup-demo-", dir="/var/tmp") as folder:
        for plan in DISKS:
            source = Path(folder) / plan.name
            originals.append(proof.make_disk(source, plan.name, plan.size_mb, plan.format))
            images.append(create_image(front_end, plan, source))
    network = front_end.call(
        "one.vn.allocate",
        'NAME="private"\nVN_MAD="dummy"\nBRIDGE="br0"\nAR=[TYPE="IP4",IP="10.0.0.10",SIZE="20"]',
        -1,
    )
    disks = "\n".join(f'DISK=[IMAGE_ID="{image}"]' for image in images)
    template = front_end.call(
        "one.template.allocate",
        f'NAME="{VM_NAME}"\nCPU="0.5"\nMEMORY="128"\n{disks}\nNIC=[NETWORK_ID="{network}"]',
    )
    backup = f'BACKUP=[FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{market}"]'
    vm = int(front_end.call("one.template.instantiate", template, VM_NAME, False, backup, False))
    front_end.wait_for_vm(vm, api.RUNNING)
    wait_for_guest(front_end, vm, beyond=10)
    return Machine(vm, images, originals, addresses(front_end.info("vm", vm)))


def create_image(front_end: Api, plan: DiskPlan, source: Path) -> int:
    description = f'NAME="{plan.name}"\nPATH="{source}"\nFORMAT="{plan.format}"\n{plan.attributes}'
    image = int(front_end.call("one.image.allocate", description.replace('" ', '"\n'), DATASTORE))
    front_end.wait_for_image(image)
    return image


def describe(front_end: Api, place: Place, machine: Machine) -> None:
    counter = max(counters(front_end, machine.vm))
    print(f"API            {place.endpoint}")
    print(f"repository     dir:{place.repository}, a marketplace of the driver onebackup")
    print(f"gateway        {place.gateway}")
    print(f"VM {machine.vm}           {VM_NAME}, RUNNING, " + ", ".join(plan.words for plan in DISKS))
    print(f"network        {' '.join(f'{ip} {mac}' for ip, mac in machine.network)}")
    print(f"guest          writes to both disks without a pause, now at record {counter}")


def live_a_day(front_end: Api, vm: int) -> list[Content]:
    """The guest writes on and is shut down, new files come onto the first disk; what is on the disks then."""
    wait_for_guest(front_end, vm, beyond=max(counters(front_end, vm)) + 10)
    front_end.call("one.vm.action", "poweroff", vm)
    front_end.wait_for_vm(vm, api.POWEROFF)
    disks = disks_of(front_end, vm)
    proof.write_files(disks[0].path, disks[0].format, NEW_FILES_MB)
    print(
        f"The guest has gone on to record {max(counters(front_end, vm))}; its owner shuts it down, and puts "
        f"{NEW_FILES_MB} MB of new files onto disk {DISKS[0].name}."
    )
    return [proof.content(disk.path, disk.format) for disk in disks]


def destroy(front_end: Api, machine: Machine) -> None:
    paths = [front_end.vm_disk(machine.vm, number) for number in range(len(DISKS))]
    paths += [Path(text(front_end.info("image", image), "SOURCE")) for image in machine.images]
    front_end.call("one.vm.action", "terminate-hard", machine.vm)
    front_end.wait_for_vm(machine.vm, api.DONE)
    for image in machine.images:
        front_end.call("one.image.delete", image)
        front_end.wait_until_gone("image", image)
    left = [str(path) for path in paths if os.path.lexists(path)]
    if left:
        raise Refused(f"these files should be gone: {', '.join(left)}")
    print(f"VM {machine.vm} is DONE, images {', '.join(map(str, machine.images))} are deleted,", end=" ")
    print(f"and so are their {len(paths)} files.")


def start_again(front_end: Api, vm: int, counter: int) -> None:
    """Release a VM from HOLD; its guest must go on behind the last record of the restore point."""
    front_end.call("one.vm.action", "release", vm)
    prove_going_on(front_end, vm, counter)


def prove_going_on(front_end: Api, vm: int, counter: int) -> None:
    """The VM runs, and its guest writes on behind record `counter`."""
    front_end.wait_for_vm(vm, api.RUNNING)
    wait_for_guest(front_end, vm, beyond=counter)
    print(f"VM {vm} is RUNNING; its guest has gone on from record {counter} to {max(counters(front_end, vm))}.")


def wait_for_guest(front_end: Api, vm: int, beyond: int) -> None:
    api.wait(f"the guest of VM {vm} to write", lambda: min(counters(front_end, vm)) > beyond)


def disks_of(front_end: Api, vm: int) -> list[GuestDisk]:
    """The disks as they lie on the VM's host."""
    formats = [text(disk, "FORMAT") for disk in front_end.info("vm", vm).findall("TEMPLATE/DISK[IMAGE_ID]")]
    return [GuestDisk(front_end.vm_disk(vm, number), format) for number, format in enumerate(formats)]


def counters(front_end: Api, vm: int) -> list[int]:
    return [counter or 0 for counter in guest.inspect(disks_of(front_end, vm)).counters]


def addresses(vm: ElementTree.Element) -> list[tuple[str, str]]:
    return [(text(nic, "IP"), text(nic, "MAC")) for nic in vm.findall("TEMPLATE/NIC")]
