# SPDX-License-Identifier: Apache-2.0
"""The scheduler: gives PENDING VMs a host, lets CLONING ones go on when their images are there."""

from __future__ import annotations

import time
from typing import Optional

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.machines import vm_run, vm_states
from sandbox.objects import datastores, hosts_xml, images, infrastructure, vm_disks, vm_nics, vms

#: However fast emulated time runs: a loop without a pause takes the processor from those it is to serve.
_AT_MOST_EVERY_S = 0.02


class Scheduler:
    """Looks at the VMs that wait and at no others: a front-end of many tests has hundreds that do not."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._waiting = {vm.id for vm in front.all("vm") if _waits(vm)}

    def on_change(self, front: Front, record: Record) -> None:
        """A listener of the front-end: a VM that is new, or waits again."""
        if record.kind == "vm" and _waits(record):
            self._waiting.add(record.id)

    def run(self) -> None:
        """Loops until the front-end stops. A VM is PENDING for a while before it is looked at."""
        since: dict[int, float] = {}
        pause_s = max(self._front.settings.seconds("schedule") / 3, _AT_MOST_EVERY_S)
        while not self._front.stopping.wait(pause_s):
            if self._waiting:
                with self._front.transaction():
                    self._round(since, time.monotonic())

    def _round(self, since: dict[int, float], moment: float) -> None:
        front = self._front
        patience = front.settings.seconds("schedule") + front.faults.extra_seconds("schedule")
        for vm_id in sorted(self._waiting):
            vm = front.find("vm", vm_id)
            if vm is None or not _waits(vm):
                self._waiting.discard(vm_id)
                since.pop(vm_id, None)
            elif vm["state"] == vm_states.CLONING:
                _check_images(front, vm)
            elif moment - since.setdefault(vm_id, moment) >= patience:
                _deploy(front, vm)


def _waits(vm: Record) -> bool:
    return bool(vm["state"] in (vm_states.PENDING, vm_states.CLONING))


def _check_images(front: Front, vm: Record) -> None:
    found = [front.find("image", int(disk["IMAGE_ID"])) for disk in vm_disks.of(vm) if disk.get("IMAGE_ID")]
    if any(image is None or image["state"] == images.ERROR for image in found):
        vm_run.set_error(vm, "Error attaching image to the VM")
        vm_states.set_state(front, vm, vm_states.CLONING_FAILURE)
    elif not vms.waits_for_images(front, vm):
        for disk, image in zip([disk for disk in vm_disks.of(vm) if disk.get("IMAGE_ID")], found):
            if image is not None:
                disk.update({"SOURCE": image["source"], "FORMAT": image["format"], "DRIVER": image["format"],
                             "IMAGE_STATE": str(image["state"])})
        vm_states.set_state(front, vm, vm_states.HOLD if vm["hold"] else vm_states.PENDING)


def _deploy(front: Front, vm: Record) -> None:
    host = _host_for(front, vm)
    problem = ""
    if host is None:
        problem = "No hosts enabled to run VMs"
    elif front.get("datastore", 0)["state"] != datastores.READY:
        problem = "No system datastores found to run VMs"
    elif not _lease_automatic(front, vm):
        problem = "Cannot dispatch VM: no network available"
    if host is None or problem:
        _say(front, vm, problem)
        return
    vm_run.deploy(front, vm, host)


def _say(front: Front, vm: Record, message: str) -> None:
    template = Template(vm["user_template"])
    if template.get("SCHED_MESSAGE") != message:
        template.set("SCHED_MESSAGE", message)
        vm["user_template"] = template.items
        front.save(vm)


def _host_for(front: Front, vm: Record) -> Optional[Record]:
    """The enabled host with the fewest VMs; of SCHED_REQUIREMENTS only ID= and HYPERVISOR= are understood."""
    wanted = next((str(value) for name, value in vm["user_template"] if name == "SCHED_REQUIREMENTS"), "")
    hosts = [host for host in front.all("host") if host["state"] == infrastructure.MONITORED and _fits(host, wanted)]
    return min(hosts, key=lambda host: (len(hosts_xml.vms_on(front, host.id)), host.id), default=None)


def _fits(host: Record, wanted: str) -> bool:
    text = wanted.replace(" ", "").replace('"', "")
    if text.startswith("ID="):
        return text[3:] == str(host.id)
    if text.startswith("HYPERVISOR="):
        return bool(text[11:] == host["vm_mad"])
    return True


def _lease_automatic(front: Front, vm: Record) -> bool:
    for nic in vm.template.vectors("NIC"):
        automatic = nic.get("NETWORK_MODE", "").upper() == "AUTO" and "NETWORK_ID" not in nic
        if automatic and not any(_try(front, vm, nic, network) for network in front.all("vn")):
            return False
    return True


def _try(front: Front, vm: Record, nic: dict[str, str], network: Record) -> bool:
    try:
        vm_nics.lease(front, vm, nic, network)
        return True
    except vm_nics.NicProblem:
        return False
