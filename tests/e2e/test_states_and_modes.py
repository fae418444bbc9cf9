# SPDX-License-Identifier: Apache-2.0
"""Every state a VM can be backed up in, those it cannot, and the modes."""

from __future__ import annotations

import json
import sqlite3

import pytest

from sandbox.world import guest
from tests.e2e import checks, machines
from tests.e2e.machines import TWO_DISKS, Disk
from tests.e2e.proxy import Proxy
from tests.e2e.site import Site, wait

AT_REST = {"POWEROFF": machines.POWEROFF, "SUSPENDED": machines.SUSPENDED, "STOPPED": machines.STOPPED,
           "UNDEPLOYED": machines.UNDEPLOYED}  # fmt: skip
ON_KVM = 'SCHED_REQUIREMENTS="HYPERVISOR=kvm"'
LIVE_DISKS = (Disk(6, "qcow2", random=True), Disk(5, "qcow2", random=True))


@pytest.mark.parametrize("state", AT_REST)
def test_a_vm_at_rest_is_saved_as_it_lies(site: Site, proxy: Proxy, state: str) -> None:
    vm_id = machines.machine(site, (Disk(2, random=True), Disk(1)), AT_REST[state])
    disks = machines.contents(machines.vm_disks(site, vm_id))

    out = checks.good(site.onebackup("backup", vm_id)).out

    assert site.vm_state(vm_id) == AT_REST[state]
    assert "the VM was not down" in out
    assert not [call for call in proxy.calls if call.startswith("one.vm.action")]
    assert machines.contents(machines.stored_disks(site, site.recorded(vm_id)[:-1])) == disks
    (point,) = checks.listed(site, vm_id)
    was_shut_down = state in ("POWEROFF", "UNDEPLOYED")
    assert (point["mode"], point["consistency"]) == (state, "OFF" if was_shut_down else "CRASH")
    new_id = checks.restored(site.onebackup("restore", vm_id, "-d", "default"))
    assert site.vm_state(new_id) == machines.RUNNING
    checks.same_bytes(site, new_id, site.recorded(vm_id)[:-1])


@pytest.mark.parametrize("state", ["HOLD", "PENDING", "DONE", "BOOT_FAILURE", "PROLOG_FAILURE"])
def test_other_states_are_refused_with_the_vm_untouched(site: Site, proxy: Proxy, state: str) -> None:
    at = {"HOLD": machines.HOLD, "PENDING": machines.PENDING, "BOOT_FAILURE": (3, 36), "PROLOG_FAILURE": (3, 39)}
    wanted = at.get(state, machines.DONE)
    if state.endswith("FAILURE"):
        site.front_end.control("next", what=state.split("_")[0].lower(), result="fail")
        vm_id = machines.machine(site, state=machines.HOLD)
        site.call("one.vm.action", "release", vm_id)
        wait("the failure", lambda: site.vm_state(vm_id)[1] in (36, 38, 39))
        wanted = site.vm_state(vm_id)
    else:
        vm_id = machines.machine(site, state=wanted)
    before = site.everything()

    refused = site.onebackup("backup", vm_id)

    assert refused.code == 3
    assert f"VM {vm_id} is {state}" in refused.error_line
    assert proxy.changing_calls() == []
    checks.undone(site, before, vm_id, wanted)


def test_unknown_is_refused(own_site: Site) -> None:
    """The sandbox never loses a host by itself: the state is written into its database while it is down."""
    vm_id = machines.machine(own_site)
    own_site.front_end.stop_process()
    with sqlite3.connect(own_site.front_end.state / "db.sqlite") as database:
        (table,) = database.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%kind%'").fetchone()
        rows = database.execute(f"SELECT rowid, * FROM {table} WHERE kind='vm' AND id=?", (vm_id,)).fetchall()
        (rowid, column) = (rows[0][0], next(item for item in rows[0] if isinstance(item, str) and item.startswith("{")))
        names = [item[1] for item in database.execute(f"PRAGMA table_info({table})")]
        name = names[rows[0].index(column) - 1]
        document = json.loads(column)
        document["fields"]["lcm_state"] = 16
        database.execute(f"UPDATE {table} SET {name}=? WHERE rowid=?", (json.dumps(document), rowid))
    own_site.front_end.restart()
    assert own_site.vm_state(vm_id) == (3, 16)

    refused = own_site.onebackup("backup", vm_id)

    assert refused.code == 3 and f"VM {vm_id} is UNKNOWN" in refused.error_line
    assert own_site.vm_state(vm_id) == (3, 16) and own_site.apps() == []


def test_suspend_keeps_the_guests_memory(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, machines.GUEST_DISKS, guest=True, backup='FREQUENCY_SECONDS="86400",MODE="SUSPEND"')
    place = machines.disk_path(site, vm_id, 0).parent
    pid = guest.find(place)

    out = checks.good(site.onebackup("backup", vm_id, "-v")).out

    assert "Suspending VM" in out and "one.vm.action poweroff" not in proxy.calls
    assert guest.find(place) == pid, "the same guest goes on"
    apps = site.recorded(vm_id)
    evidence = guest.inspect(machines.stored_disks(site, apps[:-1]))
    assert evidence.same_moment and not evidence.clean, evidence
    machines.await_guest(site, vm_id, evidence.counters[0] or 0)
    (point,) = checks.listed(site, vm_id)
    assert (point["mode"], point["consistency"]) == ("SUSPEND", "CRASH")


@pytest.mark.both_versions
def test_live_on_a_kvm_host_never_stops_the_vm(site: Site, proxy: Proxy) -> None:
    machines.kvm_host(site)
    vm_id = machines.machine(site, LIVE_DISKS, guest=True, more=ON_KVM, backup='FREQUENCY_SECONDS="86400",MODE="live"')

    out = checks.good(site.onebackup("backup", vm_id)).out

    assert "the VM was not down" in out
    assert not [call for call in proxy.calls if call.startswith("one.vm.action")]
    apps = site.recorded(vm_id)
    evidence = guest.inspect(machines.stored_disks(site, apps[:-1]))
    assert evidence.intact and not evidence.clean, "each disk by itself is as after a power cut"
    (point,) = checks.listed(site, vm_id)
    assert (point["mode"], point["consistency"]) == ("LIVE", "PER_DISK")
    new_id = checks.restored(site.onebackup("restore", vm_id, "-d", "default", "--no-start"))
    checks.same_bytes(site, new_id, apps[:-1])


def test_live_of_one_disk_is_of_one_moment(site: Site) -> None:
    machines.kvm_host(site)
    vm_id = machines.machine(site, more=ON_KVM)
    checks.backed_up(site, vm_id, "--mode", "LIVE")
    assert checks.listed(site, vm_id)[0]["consistency"] == "CRASH"


def test_live_is_refused_on_another_host_before_anything_is_touched(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, more='SCHED_REQUIREMENTS="ID=0"')
    before = site.everything()
    refused = site.onebackup("backup", vm_id, "--mode", "LIVE")
    assert refused.code == 3
    assert "driver is dummy" in refused.error_line and "LIVE,POWEROFF" in refused.error_line
    assert proxy.changing_calls() == []
    checks.undone(site, before, vm_id)


def test_live_poweroff_falls_back_and_says_why(site: Site) -> None:
    vm_id = machines.machine(site, more='SCHED_REQUIREMENTS="ID=0"')
    out = checks.good(site.onebackup("backup", vm_id, "-v", "--mode", "LIVE,POWEROFF")).out
    assert "LIVE is not possible: its host's driver is dummy" in out and "using POWEROFF" in out
    assert site.vm_state(vm_id) == machines.RUNNING
    assert checks.listed(site, vm_id)[0]["mode"] == "POWEROFF"


def test_live_that_the_host_refuses_at_the_disk(site: Site) -> None:
    """disksaveas of a RUNNING VM says yes and the driver says no later (opennebula.md section 10)."""
    machines.kvm_host(site)
    vm_id = machines.machine(site, TWO_DISKS, more=ON_KVM)
    before = site.everything()

    site.front_end.control("next", what="saveas", result="fail", vm=vm_id)
    failed = site.onebackup("backup", vm_id, "--mode", "LIVE")
    assert failed.code == 1 and "disk 0" in failed.err
    checks.undone(site, before, vm_id)

    site.front_end.control("next", what="saveas", result="fail", vm=vm_id)
    out = checks.good(site.onebackup("backup", vm_id, "-v", "--mode", "LIVE,POWEROFF")).out
    assert "trying POWEROFF" in out
    assert checks.listed(site, vm_id)[0]["mode"] == "POWEROFF"
    assert site.everything()["image"] == before["image"]


def test_a_mode_that_is_none_is_refused(site: Site) -> None:
    vm_id = machines.machine(site, backup='FREQUENCY_SECONDS="86400",MODE="FAST"')
    for options in ((), ("--mode", "poweroff,fast")):
        refused = site.onebackup("backup", vm_id, *options)
        assert refused.code == 3 and "'FAST'" in refused.error_line and "POWEROFF, SUSPEND, LIVE" in refused.error_line
