# SPDX-License-Identifier: Apache-2.0
"""Everything a backup can be refused for is found out here, before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from onebackup_driver import (
    clock,
    cloud,
    entitlement,
    errors,
    manifest,
    modes,
    offered,
    policy,
    repositories,
    s3_marketplace,
    states,
    verifying,
)
from onebackup_driver.app import Marketplace
from onebackup_driver.context import Context
from onebackup_driver.vm import CDROM, IMAGE, Disk, VirtualMachine

#: one.*.lock levels (USE 1, MANAGE 2) that keep us from powering off, saving and updating a VM.
_LOCK_BLOCKS = (1, 2, 3)
_HOW = {"poweroff": "power it off, start it again, and meanwhile", "suspend": "suspend it, resume it, and meanwhile"}


class NotOff(errors.Refused):
    """The VM was to be backed up only while it is off, and it is not."""


@dataclass(frozen=True)
class Request:
    """What the caller asked for beyond the VM's own policy. `only_off`: not when the VM is anything but POWEROFF."""

    force: bool = False
    keep_backup: bool = False
    oneshot: bool = False
    marketplace_id: Optional[int] = None
    modes: str = ""
    only_off: bool = False


@dataclass(frozen=True)
class Plan:
    """A backup that may be carried out. `not_saved`: disks that will be missing, with the reason."""

    machine: VirtualMachine
    request: Request
    marketplace: Marketplace
    modes: tuple[modes.Mode, ...]
    disks: tuple[Disk, ...]
    not_saved: dict[int, str]
    due: policy.Due
    version: str


def make(context: Context, vm_id: int, request: Request) -> Plan:
    """The plan for one VM. Raises Refused saying why there is none; `plan.due` says whether it is due."""
    machine = cloud.machine(context, vm_id)
    if machine.state.state == states.DONE:
        raise errors.Refused(
            f"VM {vm_id} is DONE: it has no disks any more; to bring it back: onebackup restore {vm_id} -d <datastore>"
        )
    if request.only_off and machine.state != states.POWERED_OFF:
        raise NotOff(f"VM {vm_id} was to be backed up while it is off, and it is {machine.state}")
    rules = policy.read(
        vm_id, machine.backup, context.configuration, request.marketplace_id, request.modes, request.oneshot
    )
    due = policy.due(rules, clock.now())
    if _goes_on(due, request):
        manifest.check_size(machine)
    disks = tuple(disk for disk in machine.disks if disk.kind == IMAGE and disk.disk_id not in rules.excluded_disks)
    marketplace = _marketplace(context, machine, request, rules.marketplace_id, disks)
    if marketplace.driver == repositories.DRIVER and _goes_on(due, request):
        offered.check_gateway(context.configuration.gateway)
    return Plan(
        machine=machine,
        request=request,
        marketplace=marketplace,
        modes=tuple(modes.candidates(machine, rules.modes, list(disks))) if _goes_on(due, request) else (),
        disks=disks,
        not_saved=_not_saved(machine, rules.excluded_disks),
        due=due,
        version=_check(context, machine, disks),
    )


def _marketplace(
    context: Context, machine: VirtualMachine, request: Request, marketplace_id: int, disks: tuple[Disk, ...]
) -> Marketplace:
    try:
        marketplace = cloud.marketplace(context, marketplace_id)
        policy.check_marketplace(marketplace, context.configuration)
        if request.marketplace_id is None:  # written on the VM, by its owner
            entitlement.check(context, machine.uid, marketplace)
        if marketplace.driver == "s3":
            verifying.s3_access(context, marketplace)
            s3_marketplace.check_sizes(marketplace, disks)
        return marketplace
    except errors.Refused as error:
        raise errors.Refused(f"VM {machine.vm_id} has nowhere to be backed up to: {error}") from error


def _goes_on(due: policy.Due, request: Request) -> bool:
    return due.due or request.force or request.oneshot


def goes_on(plan: Plan) -> bool:
    """Whether the backup is to be made now."""
    return _goes_on(plan.due, plan.request)


def in_words(plan: Plan) -> list[str]:
    """What carrying the plan out would do, line by line."""
    machine, mode = plan.machine, plan.modes[0]
    how = _HOW.get(mode.action, f"leave it as it is ({mode.name}) and")
    due = "due" if plan.due.due else "not due, but asked for"
    lines = [f"VM {machine.vm_id} ({machine.name}) is {machine.state}; {due}: {plan.due.reason}"]
    lines += [f"  {reason}" for reason in mode.passed_over]
    lines.append(
        f"would {how} save {len(plan.disks)} disk(s): {', '.join(str(disk.disk_id) for disk in plan.disks) or 'none'}"
    )
    lines += [f"would not save disk {disk_id}: {reason}" for disk_id, reason in plan.not_saved.items()]
    lines.append(f"would import them into marketplace {plan.marketplace.marketplace_id} ({plan.marketplace.name})")
    if plan.request.oneshot or plan.request.keep_backup:
        lines.append("would delete no older restore point")
    else:
        lines.append("would then delete the restore point this one replaces")
    return lines


def _check(context: Context, machine: VirtualMachine, disks: tuple[Disk, ...]) -> str:
    if machine.lock_level in _LOCK_BLOCKS:
        raise errors.Refused(
            f"VM {machine.vm_id} is locked (onevm lock), it can be neither powered off nor saved;"
            f" unlock it with: onevm unlock {machine.vm_id}"
        )
    if not disks:
        raise errors.Refused(
            f"VM {machine.vm_id} has no disk that can be saved:"
            " only disks with an image can, volatile ones and CD-ROMs cannot"
        )
    return context.front_end.version()


def _not_saved(machine: VirtualMachine, excluded: frozenset[int]) -> dict[int, str]:
    found = {}
    for disk in machine.disks:
        if disk.disk_id in excluded:
            found[disk.disk_id] = "excluded by BACKUP/EXCLUDE_DISKS"
        elif disk.kind not in (IMAGE, CDROM):
            found[disk.disk_id] = "volatile, the front-end cannot save it; a restore makes it anew, empty"
    return found
