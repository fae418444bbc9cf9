# SPDX-License-Identifier: Apache-2.0
"""Making a VM from a template: what goes where, disks, NICs, context, defaults."""

from __future__ import annotations

import uuid
from typing import Callable, Optional

from sandbox.core import errors, names, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record, now
from sandbox.core.template import Template
from sandbox.machines import vm_states
from sandbox.objects import (
    generic,
    images,
    infrastructure,
    quotas,
    restricted,
    vm_context,
    vm_disks,
    vm_nics,
    vm_template,
)
from sandbox.objects.vm_disks import DiskProblem
from sandbox.objects.vm_nics import NicProblem

Refuse = Callable[[str], errors.CallError]


@method("one.vm.allocate", "s|b")
def allocate(front: Front, caller: Caller, text: str, hold: bool = False) -> int:
    template = generic.parsed(text)
    restricted.refuse("vm", caller, template, "VM Template")
    rights.require_create(caller, "vm")
    authorize(front, caller, template)
    return make(front, caller, template, hold, lambda text: names.allocation_error(
        "vm", text, front.settings.modern)).id


def authorize(front: Front, caller: Caller, template: Template) -> None:
    """The caller needs USE on every image and network the template names (MANAGE for persistent images)."""
    for disk in template.vectors("DISK"):
        image = front.find("image", int(disk["IMAGE_ID"])) if disk.get("IMAGE_ID", "").isdigit() else None
        if image is not None:
            rights.require(caller, rights.MANAGE if image["persistent"] else rights.USE, image)
    for nic in template.vectors("NIC"):
        network = front.find("vn", int(nic["NETWORK_ID"])) if nic.get("NETWORK_ID", "").isdigit() else None
        if network is not None:
            rights.require(caller, rights.USE, network)


def make(front: Front, caller: Caller, template: Template, hold: bool, refuse: Refuse) -> Record:
    """A new VM, PENDING (or HOLD, or CLONING while images are still LOCKED); `refuse` words the refusals."""
    problem = vm_template.problem(template) or _name_problem(front, template.get("NAME"))
    if problem:
        raise refuse(problem)
    quotas.check_vm(front, caller, float(template.get("CPU")), float(template.get("MEMORY")))
    name = template.take("NAME")
    template_name = template.take("TEMPLATE_NAME")
    vm = infrastructure.owned(front, caller, "vm", name, Template(), {})
    vm.name = name or (f"{template_name}-{vm.id}" if template_name else f"one-{vm.id}")
    known, user = vm_template.split(template)
    vm.template = known
    vm.fields = vm_states.new_fields(user)
    try:
        _equip(front, vm, template)
    except (DiskProblem, NicProblem) as error:
        front.drop(vm)
        raise refuse(str(error)) from None
    _set_first_state(front, vm, hold)
    return vm


def _name_problem(front: Front, name: str) -> Optional[str]:
    return front.check_name("vm", name, -1) if name else None


def _equip(front: Front, vm: Record, everything: Template) -> None:
    template = vm.template
    context = template.vector("CONTEXT")
    if context is not None:
        context = vm_context.resolve(front, vm, context, everything)
    disks = vm_disks.acquire_all(front, vm, template.vectors("DISK"), context)
    vm_disks.replaced(template, "DISK", disks)
    try:
        default = template.vector("NIC_DEFAULT") or {}
        nics = vm_nics.acquire_all(front, vm, template.vectors("NIC"), default)
    except NicProblem:
        vm_disks.release_all(front, vm.id, disks)
        raise
    vm_disks.replaced(template, "NIC", nics)
    vm_disks.replaced(template, "SECURITY_GROUP_RULE", vm_nics.rules(front, vm, nics))
    if context is not None:
        template.set("CONTEXT", vm_context.with_network(front, context, nics))
        vm_context.encrypt(front, template)
    _defaults(front, vm)


def _defaults(front: Front, vm: Record) -> None:
    template = vm.template
    system = dict(template.vector("OS") or {})
    system.setdefault("UUID", str(uuid.uuid4()))
    if front.settings.modern:
        system.setdefault("MACHINE", "q35")
    template.set("OS", system)
    template.set("VMID", str(vm.id))
    template.set("AUTOMATIC_DS_REQUIREMENTS", '("CLUSTERS/ID" @> 0)')
    template.set("AUTOMATIC_NIC_REQUIREMENTS", '("CLUSTERS/ID" @> 0)')
    cloud = "" if front.settings.modern else " & !(PUBLIC_CLOUD = YES)"
    template.set("AUTOMATIC_REQUIREMENTS", f"(CLUSTER_ID = 0){cloud} & !(PIN_POLICY = PINNED)")


def _set_first_state(front: Front, vm: Record, hold: bool) -> None:
    vm["hold"] = hold
    vm["stime"] = now()
    state = vm_states.HOLD if hold else vm_states.PENDING
    if waits_for_images(front, vm):
        state = vm_states.CLONING
    vm["prev_state"] = state
    vm_states.set_state(front, vm, state)


def waits_for_images(front: Front, vm: Record) -> bool:
    """Whether an image of the VM is not there yet."""
    waiting = (images.LOCKED_USED, images.LOCKED_USED_PERS)
    for disk in vm_disks.of(vm):
        image = front.find("image", int(disk["IMAGE_ID"])) if disk.get("IMAGE_ID") else None
        if image is not None and image["state"] in waiting:
            return True
    return False
