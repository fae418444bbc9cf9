# SPDX-License-Identifier: Apache-2.0
"""disksaveas and disk snapshots: states, files, versions, host kinds."""
from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.process import FrontEnd
from sandbox.world import disks, guest
from tests.sandbox import driving
from tests.sandbox.driving import ERROR, POWEROFF, READY, RUNNING

STATES = {"poweroff": (POWEROFF, "27"), "suspend": (driving.SUSPENDED, "28"), "undeploy": (driving.UNDEPLOYED, "67"),
          "stop": (driving.STOPPED, "68")}


def kvm_host(front_end: FrontEnd) -> str:
    """SCHED_REQUIREMENTS of a host where live operations work."""
    host = front_end.call("one.host.allocate", driving.name("kvm"), "kvm", "kvm", -1)
    return f'SCHED_REQUIREMENTS="ID={host}"\n'


def save(front_end: FrontEnd, vm: int, disk: int = 0, snapshot: int = -1) -> int:
    return int(front_end.call("one.vm.disksaveas", vm, disk, driving.name("saved"), "", snapshot))


def evidence(front_end: FrontEnd, *images: int) -> guest.GuestEvidence:
    found = [driving.xml(front_end, "image", number) for number in images]
    return guest.inspect([guest.GuestDisk(Path(str(item.findtext("SOURCE"))), str(item.findtext("FORMAT")))
                          for item in found])


@pytest.mark.both_versions
@pytest.mark.parametrize("action", STATES)
def test_saveas_in_each_resting_state(front_end: FrontEnd, action: str) -> None:
    wanted, lcm_state = STATES[action]
    vm = driving.vm(front_end, driving.image(front_end), driving.image(front_end), more='GUEST="yes"\n')
    driving.act(front_end, action, vm, wanted)
    front_end.control("slow", what="saveas", seconds=0.2)
    first = save(front_end, vm)
    assert driving.state(front_end, "vm", vm) == ("3", lcm_state)
    driving.wait(front_end, "image", first, READY)
    driving.wait(front_end, "vm", vm, wanted)
    second = save(front_end, vm, 1)
    driving.wait(front_end, "image", second, READY)
    found = evidence(front_end, first, second)
    assert found.same_moment
    assert found.consistent is (action in ("poweroff", "undeploy"))


def test_the_copy_holds_what_the_disk_holds(front_end: FrontEnd) -> None:
    vm = driving.vm(front_end, driving.image(front_end), more='GUEST="yes"\n')
    driving.act(front_end, "poweroff", vm, POWEROFF)
    saved = save(front_end, vm)
    driving.wait(front_end, "image", saved, READY)
    found = driving.xml(front_end, "image", saved)
    disk = Path(front_end.control("vm_disk", vm=vm, disk=0))
    assert disks.content_sha256(disk, "qcow2") == disks.content_sha256(Path(str(found.findtext("SOURCE"))), "qcow2")
    assert disks.information(Path(str(found.findtext("SOURCE")))).backing_file is None
    assert found.findtext("TEMPLATE/SAVED_VM_ID") == str(vm)


@pytest.mark.both_versions
def test_a_dummy_host_refuses_the_live_saveas_afterwards(front_end: FrontEnd) -> None:
    on_dummy = 'SCHED_REQUIREMENTS="HYPERVISOR=dummy"\n'  # other tests may have made hosts that can
    vm = driving.vm(front_end, driving.image(front_end), more=on_dummy)
    saved = save(front_end, vm)
    driving.wait(front_end, "image", saved, ERROR)
    driving.wait(front_end, "vm", vm, RUNNING)
    error = driving.xml(front_end, "vm", vm).findtext("USER_TEMPLATE/ERROR") or ""
    assert error.endswith(": Error executing image transfer script: cpds: Live operation not supported on dummy")


@pytest.mark.both_versions
def test_a_kvm_host_saves_live(front_end: FrontEnd) -> None:
    more = kvm_host(front_end) + 'GUEST="yes"\n'
    vm = driving.vm(front_end, driving.image(front_end), driving.image(front_end), more=more)
    saved = []
    for disk in (0, 1):
        saved.append(save(front_end, vm, disk))
        driving.wait(front_end, "image", saved[-1], READY)
        driving.wait(front_end, "vm", vm, RUNNING)
    found = evidence(front_end, *saved)
    assert not found.consistent
    assert all(disk.intact and disk.counter for disk in found.disks)


def test_one_saveas_at_a_time(front_end: FrontEnd) -> None:
    vm = driving.vm(front_end, driving.image(front_end))
    driving.act(front_end, "poweroff", vm, POWEROFF)
    front_end.control("slow", what="saveas", seconds=0.3)
    saved = save(front_end, vm)
    with driving.refused(8192, "VM has to be RUNNING, POWEROFF or SUSPENDED to save disks."):
        save(front_end, vm)
    driving.wait(front_end, "image", saved, READY)


def test_disks_that_cannot_be_saved(front_end: FrontEnd) -> None:
    more = 'DISK=[TYPE="fs",SIZE="4",FORMAT="qcow2"]\n'
    image = driving.image(front_end)
    vm = driving.vm(front_end, image, more=more)
    name = driving.xml(front_end, "image", image).findtext("NAME")
    driving.act(front_end, "poweroff", vm, POWEROFF)
    with driving.refused(8192, "Cannot use DISK. DISK does not have a valid IMAGE_ID."):
        save(front_end, vm, 1)
    with driving.refused(8192, "Cannot use DISK. DISK does not exist."):
        save(front_end, vm, 9)
    with driving.refused(8192, "Cannot use DISK. Snapshot does not exist."):
        save(front_end, vm, 0, 3)
    with driving.refused(16384, f"Error allocating a new image. NAME is already taken by IMAGE {image}."):
        front_end.call("one.vm.disksaveas", vm, 0, name, "", -1)
    with driving.refused(16384, "Invalid NAME, char ':' is not allowed"):
        front_end.call("one.vm.disksaveas", vm, 0, "a:b", "", -1)
    assert driving.state(front_end, "vm", vm) == POWEROFF


@pytest.mark.both_versions
def test_snapshots_keep_their_moment_and_can_be_reverted(front_end: FrontEnd, version: str) -> None:
    vm = driving.vm(front_end, driving.image(front_end), more='GUEST="yes"\n')
    driving.act(front_end, "poweroff", vm, POWEROFF)
    assert front_end.call("one.vm.disksnapshotcreate", vm, 0, "one") == 0
    driving.wait(front_end, "vm", vm, POWEROFF)
    before = evidence_of_disk(front_end, vm)
    driving.act(front_end, "resume", vm, RUNNING)
    driving.act(front_end, "poweroff", vm, POWEROFF)
    assert evidence_of_disk(front_end, vm).counters != before.counters
    saved = save(front_end, vm, 0, 0)
    driving.wait(front_end, "image", saved, READY)
    assert evidence(front_end, saved).counters == before.counters
    driving.wait(front_end, "vm", vm, POWEROFF)
    front_end.call("one.vm.disksnapshotrevert", vm, 0, 0)
    driving.wait(front_end, "vm", vm, POWEROFF)
    assert evidence_of_disk(front_end, vm).counters == before.counters
    if version == "6.4":
        with driving.refused(2048, "Cannot delete the active snapshot"):
            front_end.call("one.vm.disksnapshotdelete", vm, 0, 0)
    else:
        front_end.call("one.vm.disksnapshotdelete", vm, 0, 0)
        driving.wait(front_end, "vm", vm, POWEROFF)
        assert driving.xml(front_end, "vm", vm).find("SNAPSHOTS") is None


@pytest.mark.both_versions
def test_full_copies_can_be_deleted_while_they_are_active(front_end: FrontEnd) -> None:
    text = f'NAME="{driving.name("ssh")}"\nTM_MAD="ssh"\nDS_MAD="fs"'
    datastore = front_end.call("one.datastore.allocate", text)
    image = driving.image(front_end, more='FORMAT="raw"', datastore=datastore)
    vm = driving.vm(front_end, image, more=kvm_host(front_end) + 'GUEST="yes"\n')
    front_end.call("one.vm.disksnapshotcreate", vm, 0, "live")
    driving.wait(front_end, "vm", vm, RUNNING)
    saved = save(front_end, vm, 0, 0)
    driving.wait(front_end, "image", saved, READY)
    driving.wait(front_end, "vm", vm, RUNNING)
    front_end.call("one.vm.disksnapshotdelete", vm, 0, 0)
    driving.wait(front_end, "vm", vm, RUNNING)
    assert driving.xml(front_end, "vm", vm).find("SNAPSHOTS") is None


def evidence_of_disk(front_end: FrontEnd, vm: int) -> guest.GuestEvidence:
    return guest.inspect([guest.GuestDisk(Path(front_end.control("vm_disk", vm=vm, disk=0)), "qcow2")])


def test_what_cannot_have_snapshots(front_end: FrontEnd) -> None:
    vm = driving.vm(front_end, driving.image(front_end), more='DISK=[TYPE="fs",SIZE="4",FORMAT="raw"]\n')
    with driving.refused(2048, "Cannot make snapshots on volatile disks"):
        front_end.call("one.vm.disksnapshotcreate", vm, 1, "x")
    with driving.refused(2048, "VM disk does not exist"):
        front_end.call("one.vm.disksnapshotcreate", vm, 5, "x")
    driving.act(front_end, "undeploy", vm, driving.UNDEPLOYED)
    with driving.refused(2048, f"Could not create a new snapshot for VM {vm}, wrong state UNDEPLOYED."):
        front_end.call("one.vm.disksnapshotcreate", vm, 0, "x")


def test_persistent_snapshot_zero_stays_for_ever(front_end: FrontEnd) -> None:
    vm = driving.vm(front_end, driving.image(front_end, more='PERSISTENT="YES"'))
    driving.act(front_end, "poweroff", vm, POWEROFF)
    front_end.call("one.vm.disksnapshotcreate", vm, 0, "x")
    driving.wait(front_end, "vm", vm, POWEROFF)
    with driving.refused(2048, "Cannot delete snapshot 0 for persistent disk images"):
        front_end.call("one.vm.disksnapshotdelete", vm, 0, 0)
