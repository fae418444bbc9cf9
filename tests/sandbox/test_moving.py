# SPDX-License-Identifier: Apache-2.0
"""Migration, resizing and guests that shut themselves down: states, refusals, and what the history records say."""
from __future__ import annotations

import subprocess

import pytest

from sandbox.process import FrontEnd
from tests.sandbox import driving
from tests.sandbox.driving import POWEROFF, RUNNING, SUSPENDED, UNDEPLOYED

KVM = 'SCHED_REQUIREMENTS="HYPERVISOR=kvm"\n'


def history(front_end: FrontEnd, number: int) -> list[dict[str, str]]:
    """The last two history records."""
    found = driving.xml(front_end, "vm", number).findall("HISTORY_RECORDS/HISTORY")[-2:]
    return [{str(item.tag): item.text or "" for item in record} for record in found]


def host(front_end: FrontEnd, driver: str = "dummy") -> int:
    return int(front_end.call("one.host.allocate", driving.name("host"), driver, driver, 0))


@pytest.mark.both_versions
@pytest.mark.parametrize(("live", "way", "action"), [(True, 0, "2"), (False, 0, "1"), (False, 1, "48")])
def test_a_running_vm_moves_and_runs_again(
    fresh_front_end: FrontEnd, live: bool, way: int, action: str
) -> None:
    front_end = fresh_front_end
    number = driving.vm(front_end, driving.image(front_end), more='GUEST="yes"\n')
    target = host(front_end)
    front_end.call("one.vm.migrate", number, target, live, False, -1, way)
    assert driving.state(front_end, "vm", number) in (("3", "4"), ("3", "7"))
    driving.wait(front_end, "vm", number, RUNNING)
    before, now = history(front_end, number)
    assert (before["ACTION"], now["HID"], now["SEQ"], now["RETIME"]) == (action, str(target), "1", "0")
    assert before["RETIME"] != "0" and now["RSTIME"] != "0"
    with driving.refused(2048, f"VM is already running on host [{target}]"):
        front_end.call("one.vm.migrate", number, target, live)


@pytest.mark.parametrize(("action", "rest"), [("poweroff", POWEROFF), ("suspend", SUSPENDED)])
def test_a_vm_at_rest_moves_and_rests(
    fresh_front_end: FrontEnd, action: str, rest: driving.State
) -> None:
    front_end = fresh_front_end
    number = driving.vm(front_end, driving.image(front_end))
    driving.act(front_end, action, number, rest)
    front_end.call("one.vm.migrate", number, host(front_end), True)
    driving.wait(front_end, "vm", number, rest)
    _, now = history(front_end, number)
    assert (now["ACTION"], now["SEQ"], now["RSTIME"]) == ("1", "1", "0")
    driving.act(front_end, "resume", number, RUNNING)


def test_only_an_admin_migrates_and_not_from_everywhere(front_end: FrontEnd) -> None:
    _, session = driving.user(front_end)
    number = driving.vm(front_end)
    driving.act(front_end, "undeploy", number, UNDEPLOYED)
    with driving.refused(2048, "Migrate action is not available for state UNDEPLOYED"):
        front_end.call("one.vm.migrate", number, 0, False)
    with driving.refused(512, "Not authorized"):
        front_end.call("one.vm.migrate", number, 0, False, session=session)


def test_a_failed_live_migration_leaves_the_vm_where_it_was(fresh_front_end: FrontEnd) -> None:
    front_end = fresh_front_end
    number = driving.vm(front_end)
    front_end.control("next", what="migrate", result="fail")
    front_end.call("one.vm.migrate", number, host(front_end), True)
    driving.wait(front_end, "vm", number, RUNNING)
    _, now = history(front_end, number)
    assert (now["HID"], now["SEQ"]) == ("0", "2")


@pytest.mark.both_versions
@pytest.mark.parametrize("format", ["qcow2", "raw"])
def test_a_disk_grows_in_its_state(front_end: FrontEnd, format: str) -> None:
    number = driving.vm(front_end, driving.image(front_end, 4, f'FORMAT="{format}"\n'), more='GUEST="yes"\n')
    front_end.call("one.vm.diskresize", number, 0, "6")
    driving.wait(front_end, "vm", number, RUNNING)
    path = front_end.control("vm_disk", vm=number, disk=0)
    format = driving.xml(front_end, "vm", number).findtext("TEMPLATE/DISK/FORMAT", "")  # 6.4 does not take it from us
    shown = subprocess.run(["qemu-img", "info", "-U", "-f", format, path], check=True, capture_output=True, text=True)
    assert "6 MiB" in shown.stdout
    driving.act(front_end, "poweroff", number, POWEROFF)
    front_end.call("one.vm.diskresize", number, 0, "8")
    driving.wait(front_end, "vm", number, POWEROFF)
    before, now = history(front_end, number)
    assert (before["ACTION"], now["ACTION"], now["UID"]) == ("29", "19", "-1"), "the new record keeps what stopped it"
    assert now["RETIME"] == now["RSTIME"] != "0", "the VM did not run"
    assert driving.xml(front_end, "vm", number).findtext("TEMPLATE/DISK/SIZE") == "8"
    driving.act(front_end, "resume", number, RUNNING)


def test_refused_disk_sizes(front_end: FrontEnd) -> None:
    number = driving.vm(front_end, driving.image(front_end, 4))
    for arguments, text in (((0, "4"), "New disk size has to be greater"), ((0, "x"), "not a valid integer"),
                            ((7, "9"), "VM disk does not exist")):  # fmt: skip
        with driving.refused(2048, text):
            front_end.call("one.vm.diskresize", number, *arguments)
    driving.act(front_end, "suspend", number, SUSPENDED)
    with driving.refused(2048, f"Could not resize disk for VM {number}, wrong state SUSPENDED."):
        front_end.call("one.vm.diskresize", number, 0, "9")


@pytest.mark.both_versions
def test_capacity(fresh_front_end: FrontEnd) -> None:
    front_end = fresh_front_end
    host(front_end, "kvm")
    on_kvm, on_dummy = driving.vm(front_end, more=KVM), driving.vm(front_end, more='SCHED_REQUIREMENTS="ID=0"\n')
    front_end.call("one.vm.resize", on_kvm, 'MEMORY="128"', True)
    driving.wait(front_end, "vm", on_kvm, RUNNING)
    assert driving.xml(front_end, "vm", on_kvm).findtext("TEMPLATE/MEMORY") == "128"
    with driving.refused(2048, "Hotplug resize not supported by driver dummy"):
        front_end.call("one.vm.resize", on_dummy, 'MEMORY="128"', True)
    driving.act(front_end, "suspend", on_dummy, SUSPENDED)
    with driving.refused(2048, "Cannot resize a VM in state SUSPENDED"):
        front_end.call("one.vm.resize", on_dummy, 'MEMORY="128"', True)


@pytest.mark.both_versions
def test_a_guest_that_shuts_itself_down(front_end: FrontEnd) -> None:
    number = driving.vm(front_end, driving.image(front_end), more='GUEST="yes"\n')
    front_end.control("guest_ends", vm=number)
    assert driving.state(front_end, "vm", number) == POWEROFF
    _, now = [{}, *history(front_end, number)][-2:]
    assert (now["ACTION"], now["UID"]) == ("44", "-1") and now["RETIME"] != "0"
    driving.act(front_end, "resume", number, RUNNING)
    assert history(front_end, number)[-1]["ACTION"] == "0"


def test_a_resume_that_fails_keeps_its_name_in_the_history(front_end: FrontEnd) -> None:
    number = driving.vm(front_end)
    driving.act(front_end, "poweroff", number, POWEROFF)
    front_end.control("next", what="resume", result="fail", vm=number)
    front_end.call("one.vm.action", "resume", number)
    driving.wait(front_end, "vm", number, POWEROFF)
    now = history(front_end, number)[-1]
    assert (now["ACTION"], now["UID"]) == ("11", "0") and now["RETIME"] != "0"
