# SPDX-License-Identifier: Apache-2.0
"""VMs as real front-ends show them."""

from __future__ import annotations

import pytest
from lxml import etree

from onebackup_driver import states, vm
from tests import objects


@pytest.mark.parametrize("version, vm_id, images", [("6.4", 8, [43, 44, -1, 45]), ("7.4", 4, [21, 22, -1, 23])])
def test_a_running_vm(version: str, vm_id: int, images: list[int]) -> None:
    machine = objects.machine(version)
    assert (machine.vm_id, machine.uid, machine.gid, machine.lock_level) == (vm_id, 0, 0, 0)
    assert machine.name.startswith("web-") and machine.started > 1795400000
    assert machine.state == states.RUNNING and str(machine.state) == "RUNNING"
    assert [disk.disk_id for disk in machine.disks] == [0, 1, 2, 3]
    assert [disk.kind for disk in machine.disks] == [vm.IMAGE, vm.IMAGE, vm.VOLATILE, vm.CDROM]
    assert [disk.image_id for disk in machine.disks] == images
    assert [disk.persistent for disk in machine.disks] == [False, True, False, False]
    assert [disk.size_mb for disk in machine.disks] == [512, 512, 64, 512]
    assert machine.backup == {"FREQUENCY_SECONDS": "86400", "MARKETPLACE_ID": {"6.4": "108", "7.4": "104"}[version]}
    assert (machine.history_sequence, machine.hypervisor_driver, machine.error_text) == (0, "dummy", "")


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_a_powered_off_vm(version: str) -> None:
    machine = objects.machine(version, "vm-poweroff")
    assert machine.state == states.POWERED_OFF and str(machine.state) == "POWEROFF"
    assert machine.backup is not None and machine.backup["MARKETPLACE_APP_IDS"] == "778,779"
    assert "Error executing image transfer script" in machine.error_text
    assert machine.history_sequence == 1


@pytest.mark.parametrize("version", objects.VERSIONS)
@pytest.mark.parametrize("name, state", [("vm-pending", "PENDING"), ("vm-done", "DONE"), ("vm-locked", "POWEROFF")])
def test_states(version: str, name: str, state: str) -> None:
    assert str(objects.machine(version, name).state) == state


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_locks(version: str) -> None:
    assert objects.machine(version, "vm-locked").lock_level == 1
    assert objects.machine(version, "vm-poweroff").lock_level == 0


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_a_vm_that_never_was_on_a_host(version: str) -> None:
    machine = objects.machine(version, "vm-pending")
    assert (machine.history_sequence, machine.hypervisor_driver) == (-1, "")


def test_the_lcm_state_counts_only_while_active() -> None:
    assert objects.machine(STATE="8", LCM_STATE="3").state == states.POWERED_OFF


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_permissions_in_the_order_of_chmod(version: str) -> None:
    machine = objects.machine(version, PERMISSIONS__GROUP_U="1", PERMISSIONS__OTHER_A="1")
    assert vm.permissions(machine.element) == (1, 1, 0, 1, 0, 0, 0, 0, 1)


def test_numbers_that_are_none_are_not_taken_for_0() -> None:
    machine = objects.machine(ID="x", UID="", STATE="", STIME="12.5")
    assert (machine.vm_id, machine.uid, machine.state.state, machine.started) == (-1, -1, -1, 0)


def _history(*records: tuple[int, int, int]) -> vm.VirtualMachine:
    """A VM with these records: ACTION, RSTIME, RETIME; SEQ from 0."""
    element = objects.load("7.4", "vm-running")
    place = element.find("HISTORY_RECORDS")
    assert place is not None
    place.clear()
    for number, (action, began, ended) in enumerate(records):
        values = {"SEQ": number, "ACTION": action, "UID": 0, "RSTIME": began, "RETIME": ended}
        text = "".join(f"<{key}>{value}</{key}>" for key, value in values.items())
        place.append(etree.fromstring(f"<HISTORY>{text}</HISTORY>"))
    return vm.parse(element)


POWEROFF, RESUME, MIGRATE, LIVE_MIGRATE, DISK_RESIZE, MONITOR = 19, 11, 1, 2, 29, 44


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_what_stopped_a_vm(version: str) -> None:
    assert objects.machine(version, "vm-poweroff").was_stopped
    assert not objects.machine(version).was_stopped


@pytest.mark.parametrize(
    "records, starts, stopped",
    [
        ([(POWEROFF, 5, 9)], 0, True),
        ([(POWEROFF, 5, 9), (0, 10, 0)], 1, False),
        ([(POWEROFF, 5, 9), (RESUME, 10, 11)], 1, False),
        ([(POWEROFF, 5, 9), (MONITOR, 10, 20)], 1, True),
        ([(DISK_RESIZE, 5, 9), (POWEROFF, 10, 10)], 0, True),
        ([(DISK_RESIZE, 5, 9), (POWEROFF, 10, 10), (0, 12, 0)], 1, False),
        ([(POWEROFF, 5, 9), (MIGRATE, 0, 11)], 0, True),
        ([(POWEROFF, 5, 9), (MIGRATE, 0, 11), (0, 12, 0)], 1, False),
        ([(POWEROFF, 5, 9), (POWEROFF, 10, 20), (MIGRATE, 0, 21)], 1, True),
        ([(POWEROFF, 5, 9), (LIVE_MIGRATE, 10, 12), (0, 12, 0)], 1, False),
        ([(POWEROFF, 5, 9), (POWEROFF, 10, 20), (0, 30, 0)], 2, False),
    ],
)
def test_starts_are_told_from_changes(records: list[tuple[int, int, int]], starts: int, stopped: bool) -> None:
    machine = _history(*records)
    assert (machine.starts_since(0), machine.was_stopped) == (starts, stopped)


@pytest.mark.parametrize(
    "action, uid, by_another",
    [
        (POWEROFF, 0, False),
        (POWEROFF, 7, True),
        (POWEROFF, -1, False),
        (MONITOR, -1, True),
        (DISK_RESIZE, 7, False),
        (0, -1, False),
    ],
)
def test_who_ended_a_record(action: int, uid: int, by_another: bool) -> None:
    machine = _history((action, 5, 9), (0, 10, 0))
    element = machine.element.findall("HISTORY_RECORDS/HISTORY/UID")[0]
    element.text = str(uid)
    assert machine.was_stopped_by_another(0, own_uid=0) is by_another
    assert not machine.was_stopped_by_another(5, own_uid=0)
