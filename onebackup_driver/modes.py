# SPDX-License-Identifier: Apache-2.0
"""How a VM's disks are brought to rest, and where LIVE is possible (opennebula.md sections 4.3 and 10)."""

from __future__ import annotations

from dataclasses import dataclass

from onebackup_driver import errors, states
from onebackup_driver.vm import Disk, VirtualMachine

#: Transfer drivers whose saveas of a running kvm guest is a consistent copy of one disk (virsh blockcopy); ceph and
#: LVM copy the live volume, which is torn.
LIVE_TRANSFER_DRIVERS = ("qcow2", "shared", "ssh", "local")
LIVE_HYPERVISOR_DRIVERS = ("kvm",)


@dataclass(frozen=True)
class Mode:
    """`action`: the one.vm.action that brings the VM to `rest`, empty when nothing needs to be done.
    `consistency` is what the restore point says of its disks; `passed_over` why earlier modes were not taken."""

    name: str
    action: str
    rest: states.VmState
    consistency: str
    passed_over: tuple[str, ...] = ()


def candidates(machine: VirtualMachine, wanted: tuple[str, ...], disks: list[Disk]) -> list[Mode]:
    """The modes to try, in order, for a VM in its present state. Raises Refused when there is none.

    A VM that is already at rest is saved as it lies, whatever the mode.
    """
    if machine.state in states.AT_REST:
        # Stopping keeps the guest's memory too: its disks were never shut down.
        kind = "CRASH" if machine.state in (states.SUSPENDED_STATE, states.STOPPED_STATE) else "OFF"
        return [Mode(str(machine.state), "", machine.state, kind)]
    if machine.state != states.RUNNING:
        raise errors.Refused(
            f"VM {machine.vm_id} is {machine.state};"
            " it can be backed up when RUNNING, POWEROFF, SUSPENDED, STOPPED or UNDEPLOYED"
        )
    found: list[Mode] = []
    reasons: list[str] = []
    for name in wanted:
        reason = live_obstacle(machine, disks) if name == "LIVE" else ""
        if reason:
            reasons.append(f"LIVE is not possible: {reason}")
        else:
            found.append(_running_mode(name, disks, tuple(reasons)))
    if not found:
        raise errors.Refused(
            f'VM {machine.vm_id} cannot be backed up: {"; ".join(reasons)}; MODE="LIVE,POWEROFF" would fall back'
        )
    return found


def live_obstacle(machine: VirtualMachine, disks: list[Disk]) -> str:
    """Why the disks cannot be saved while the VM runs; empty when they can."""
    if machine.hypervisor_driver not in LIVE_HYPERVISOR_DRIVERS:
        return f"its host's driver is {machine.hypervisor_driver or 'unknown'}, only kvm copies a running disk"
    for disk in disks:
        driver = disk.attributes.get("TM_MAD", "")
        if driver not in LIVE_TRANSFER_DRIVERS:
            return f"disk {disk.disk_id} is on a {driver or 'unknown'} datastore, whose copy of a running disk is torn"
    return ""


def _running_mode(name: str, disks: list[Disk], passed_over: tuple[str, ...]) -> Mode:
    if name == "LIVE":
        return Mode(name, "", states.RUNNING, "PER_DISK" if len(disks) > 1 else "CRASH", passed_over)
    if name == "SUSPEND":
        return Mode(name, "suspend", states.SUSPENDED_STATE, "CRASH", passed_over)
    return Mode(name, "poweroff", states.POWERED_OFF, "OFF", passed_over)
