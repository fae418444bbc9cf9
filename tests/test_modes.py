# SPDX-License-Identifier: Apache-2.0
"""Which modes are tried for a VM in which state, and why LIVE is passed over."""

from __future__ import annotations

import pytest

from onebackup_driver import errors, modes, states, vm
from tests import objects

ACTIVE = {"STATE": "3", "LCM_STATE": "3"}


def on_host(driver: str, transfer: str = "qcow2", version: str = "7.4", name: str = "vm-running") -> vm.VirtualMachine:
    """The recorded VM as if on another kind of host and datastore."""
    element = objects.load(version, name)
    for place in element.findall("HISTORY_RECORDS/HISTORY/VM_MAD"):
        place.text = driver
    for place in element.findall("TEMPLATE/DISK/TM_MAD"):
        place.text = transfer
    return vm.parse(element)


def images(machine: vm.VirtualMachine) -> list[vm.Disk]:
    return [disk for disk in machine.disks if disk.kind == vm.IMAGE]


@pytest.mark.parametrize("version", objects.VERSIONS)
@pytest.mark.parametrize(
    "wanted, action, rest, consistency",
    [
        ("POWEROFF", "poweroff", states.POWERED_OFF, "OFF"),
        ("SUSPEND", "suspend", states.SUSPENDED_STATE, "CRASH"),
    ],
)
def test_a_running_vm_is_brought_to_rest(
    version: str, wanted: str, action: str, rest: states.VmState, consistency: str
) -> None:
    machine = objects.machine(version)
    (mode,) = modes.candidates(machine, (wanted,), images(machine))
    assert (mode.name, mode.action, mode.rest, mode.consistency) == (wanted, action, rest, consistency)
    assert mode.passed_over == ()


@pytest.mark.parametrize("version", objects.VERSIONS)
@pytest.mark.parametrize("wanted", [("POWEROFF",), ("LIVE",), ("SUSPEND", "POWEROFF")])
@pytest.mark.parametrize(
    "state, name, consistency",
    [("8", "POWEROFF", "OFF"), ("5", "SUSPENDED", "CRASH"), ("9", "UNDEPLOYED", "OFF"), ("4", "STOPPED", "CRASH")],
)
def test_a_vm_at_rest_is_saved_as_it_lies(
    version: str, wanted: tuple[str, ...], state: str, name: str, consistency: str
) -> None:
    """The disks of a VM whose memory is kept (SUSPENDED, STOPPED) are as after a crash; the guest had no shutdown."""
    machine = objects.machine(version, "vm-poweroff", STATE=state)
    (mode,) = modes.candidates(machine, wanted, images(machine))
    assert (mode.name, mode.action, mode.rest, mode.consistency) == (name, "", machine.state, consistency)


@pytest.mark.parametrize("name, words", [("vm-pending", "PENDING"), ("vm-done", "DONE")])
@pytest.mark.parametrize("version", objects.VERSIONS)
def test_other_states_are_refused_by_name(version: str, name: str, words: str) -> None:
    with pytest.raises(errors.Refused, match=f"VM [0-9]+ is {words}; it can be backed up when RUNNING, POWEROFF"):
        modes.candidates(objects.machine(version, name), ("POWEROFF",), [])


@pytest.mark.parametrize(
    "lcm, words", [("26", "HOTPLUG_SAVEAS"), ("16", "UNKNOWN"), ("36", "BOOT_FAILURE"), ("99", "99")]
)
def test_an_active_vm_that_does_not_run_is_refused(lcm: str, words: str) -> None:
    with pytest.raises(errors.Refused, match=f"is .*{words};"):
        modes.candidates(objects.machine(STATE="3", LCM_STATE=lcm), ("POWEROFF",), [])


def test_live_is_possible_on_kvm() -> None:
    machine = on_host("kvm")
    several = modes.candidates(machine, ("LIVE",), images(machine))
    one = modes.candidates(machine, ("LIVE",), images(machine)[:1])
    assert [(mode.name, mode.action, mode.rest, mode.consistency) for mode in several + one] == [
        ("LIVE", "", states.RUNNING, "PER_DISK"),
        ("LIVE", "", states.RUNNING, "CRASH"),
    ]


@pytest.mark.parametrize(
    "machine, words",
    [
        (objects.machine("6.4"), "its host's driver is dummy, only kvm"),
        (on_host("vcenter"), "its host's driver is vcenter"),
        (on_host("kvm", "ceph"), "disk 0 is on a ceph datastore, whose copy of a running disk is torn"),
        (on_host("kvm", ""), "disk 0 is on a unknown datastore"),
    ],
)
def test_live_is_passed_over_with_the_reason_or_refused(machine: vm.VirtualMachine, words: str) -> None:
    (mode,) = modes.candidates(machine, ("LIVE", "POWEROFF"), images(machine))
    assert mode.name == "POWEROFF" and len(mode.passed_over) == 1
    assert mode.passed_over[0].startswith("LIVE is not possible: ") and words in mode.passed_over[0]
    with pytest.raises(errors.Refused, match=f"cannot be backed up: LIVE is not possible: .*{words}"):
        modes.candidates(machine, ("LIVE",), images(machine))


def test_all_wanted_modes_are_kept_in_their_order() -> None:
    machine = on_host("kvm")
    found = modes.candidates(machine, ("LIVE", "SUSPEND", "POWEROFF"), images(machine))
    assert [mode.name for mode in found] == ["LIVE", "SUSPEND", "POWEROFF"]
