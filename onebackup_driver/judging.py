# SPDX-License-Identifier: Apache-2.0
"""The BACKUP section of a VM is judged, and its owner told; ACTION="NOW" in it becomes a request."""

from __future__ import annotations

from typing import Optional

from onebackup_driver import (
    clock,
    cloud,
    entitlement,
    errors,
    policy,
    queue,
    records,
    states,
    template_text,
    verdict,
    vm,
)
from onebackup_driver.context import Context
from onebackup_driver.xml_values import Attribute, Vector, vector

_NOW = "NOW"


def asks(section: Optional[Vector]) -> bool:
    """Whether a BACKUP section asks for a backup now."""
    return (section or {}).get("ACTION", "").strip().upper() == _NOW


def look_at(context: Context, vm_id: int) -> str:
    """Read the VM again and do what its BACKUP section asks for; what was done, in words. A request is queued.

    Raises Refused, FrontEndError, Full or OSError.
    """
    machine = cloud.machine(context, vm_id)
    if machine.state.state == states.DONE:
        return f"VM {vm_id} is DONE"
    told = _told(machine)
    if machine.backup is None:
        return _write(context, vm_id, [], verdict.withdrawn(told)) or f"VM {vm_id} has no BACKUP section"
    problem, next_time = _judge(context, machine, machine.backup)
    if asks(machine.backup) and not problem:
        return _request(context, machine, told)
    action = machine.backup.get("ACTION", "").strip()
    if action and not problem:
        problem = f"BACKUP/ACTION of VM {vm_id} is {action[:60]!r}; the only action is NOW"
    return _write(context, vm_id, [], verdict.changed(told, problem, next_time)) or f"VM {vm_id}: nothing new to say"


def _judge(context: Context, machine: vm.VirtualMachine, section: Vector) -> tuple[str, str]:
    """What is wrong with a BACKUP section (empty: nothing), and when the next backup is."""
    try:
        rules = policy.read(machine.vm_id, section, context.configuration)
        marketplace = cloud.marketplace(context, rules.marketplace_id)
        policy.check_marketplace(marketplace, context.configuration)
        entitlement.check(context, machine.uid, marketplace)
    except errors.Refused as error:
        return str(error), ""
    return "", verdict.next_backup(rules, context.configuration, clock.now())


def _request(context: Context, machine: vm.VirtualMachine, told: Optional[Vector]) -> str:
    """Queue first, then clear: a crash in between has the request twice rather than never."""
    queue.add(context.where.queue, machine.vm_id, queue.NOW, "BACKUP/ACTION", machine.uid)
    section: Attribute = ("BACKUP", records.without_action(machine.backup or {}))
    said = None
    if (told or {}).get("STATE") != records.RUNNING:
        said = {**(told or {}), "STATE": records.OK, "MESSAGE": "a backup was asked for and begins soon"}
        said.pop("VERDICT", None)
    _write(context, machine.vm_id, [section], said)
    return f"VM {machine.vm_id}: queued ({queue.NOW})"


def _write(context: Context, vm_id: int, more: list[Attribute], told: Optional[Vector]) -> str:
    """Update the VM when there is something to write; what was said, in words."""
    attributes = list(more)
    if told is not None:
        told = {key: template_text.one_line(value) for key, value in {**told, "TIME": str(clock.now())}.items()}
        attributes.append(("ONEBACKUP", told))
    if attributes:
        context.front_end.repeat("one.vm.update", vm_id, template_text.render(attributes), 1)
    return f"VM {vm_id}: {told['MESSAGE']}" if told is not None else ""


def _told(machine: vm.VirtualMachine) -> Optional[Vector]:
    element = machine.element.find("USER_TEMPLATE/ONEBACKUP")
    return None if element is None else vector(element)
