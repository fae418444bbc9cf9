# SPDX-License-Identifier: Apache-2.0
"""A tenant with many VMs keeps nobody else's from being backed up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onebackup_driver import queue, schedule, states, timer
from onebackup_driver.pool_vm import PoolVm
from onebackup_driver.progress import Progress
from onebackup_driver.schedule import Circumstances
from onebackup_driver.site_rules import Configuration, Limits
from tests.deputy.tenants import Tenant
from tests.e2e import checks, machines
from tests.e2e.site import Site

NOW = 1_700_000_000
ATTACKER, OTHERS = 7, (8, 9, 10)


def vm(vm_id: int, uid: int, last: int, frequency: str = "86400") -> PoolVm:
    section = {"FREQUENCY_SECONDS": frequency, "MARKETPLACE_ID": "100", "LAST_BACKUP_TIME": str(last)}
    return PoolVm(vm_id, "vm", uid, states.RUNNING, NOW - 10**7, vm_id % 50, (1,), 10, 0, section, {})


def crowd() -> list[PoolVm]:
    """A thousand VMs that ask for everything, and three users with one VM each that is an hour late."""
    many = [vm(number, ATTACKER, 0, "1") for number in range(1000)]
    return many + [vm(5000 + uid, uid, NOW - 90000) for uid in OTHERS]


def order(machines: list[PoolVm], **more: object) -> list[PoolVm]:
    around = replace(Circumstances(Configuration(time_zone="UTC"), NOW, {}, {}), **more)  # type: ignore[arg-type]
    return [decision.machine for decision in schedule.plan(machines, around) if decision.runs]


def test_owners_take_turns() -> None:
    found = order(crowd())
    assert len(found) == 1003
    assert {machine.uid for machine in found[:4]} == {ATTACKER, *OTHERS}
    assert {machine.uid for machine in found[4:]} == {ATTACKER}


def test_among_one_owners_vms_the_most_overdue_comes_first() -> None:
    mine = [vm(1, 8, NOW - 90000), vm(2, 8, NOW - 200000), vm(3, 8, NOW - 100000)]
    assert [machine.vm_id for machine in order(mine)] == [2, 3, 1]
    theirs = [vm(4, 9, NOW - 86500)]
    assert [machine.vm_id for machine in order(mine + theirs)] == [2, 4, 3, 1]


@pytest.mark.parametrize(
    ("owners", "total", "per_owner", "expected"),
    [(1, 4, 0, 4), (2, 4, 0, 3), (3, 1, 0, 1), (2, 2, 0, 1), (2, 4, 4, 4), (2, 4, 2, 2), (0, 4, 0, 4)],
)
def test_one_place_is_left_for_the_others(owners: int, total: int, per_owner: int, expected: int) -> None:
    site = Configuration(limits=Limits(total=total, per_owner=per_owner))
    around = Circumstances(Configuration(time_zone="UTC"), NOW, {}, {})
    decisions = schedule.plan([vm(number, 50 + number % max(1, owners), 0) for number in range(3 * owners)], around)
    assert schedule.limits(site, decisions).per_owner == expected


def test_an_owner_can_be_kept_to_a_part_of_the_slots() -> None:
    around = Circumstances(Configuration(time_zone="UTC"), NOW, {}, {})
    limits = Limits(total=4, per_host=99, per_datastore=99, per_marketplace=99, per_owner=2)
    why = schedule.slots(schedule.plan(crowd()[:10], around), [], limits)
    assert [number for number, reason in why.items() if not reason] == [0, 1]
    assert why[2] == "2 backups of VMs of user 7 are running (limits.per_owner)"


def test_a_made_up_last_backup_does_not_shorten_the_sites_floor() -> None:
    machine = vm(1, ATTACKER, 0)
    for uid in (0, ATTACKER):
        newest = {(1, machine.started, uid): NOW - 100}
        assert order([machine], newest=newest) == []
        assert order([machine], newest={(1, machine.started, uid): NOW - 301}) == [machine]
    for began, uid, moment in ((0, 99, NOW), (1, 0, NOW), (0, 0, NOW + 9)):
        assert order([machine], newest={(1, machine.started + began, uid): moment}) == [machine]


def test_requests_of_owners_take_turns(tmp_path: Path) -> None:
    """ACTION="NOW" on a hundred VMs, then one of somebody else's: the hundred do not all come first."""
    for number in range(100):
        queue.add(tmp_path, number, queue.NOW, "BACKUP/ACTION", owner=ATTACKER)
    queue.add(tmp_path, 5000, queue.NOW, "BACKUP/ACTION", owner=8)
    taken = []
    for _ in range(4):
        (request,) = queue.take(tmp_path, 1)
        queue.finish(tmp_path, request, "done: ")
        taken.append(request.owner)
    assert taken.index(8) <= 1, taken


def test_a_long_run_looks_again_at_what_is_due(site: Site, attacker: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who becomes due in the middle of it does not wait for its end; who is in it is not taken twice."""
    from onebackup_driver.cli import options

    many = [attacker.machine() for _ in range(3)]
    late = attacker.machine(backup="-")
    site.configure(limits={"total": 1})
    site.front_end.control("slow", what="import", seconds=0.5)
    for key, value in site.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(timer, "_LOOK_AGAIN_S", 0.5)
    report = timer.Report()

    def watch(running: list[Progress]) -> None:
        if running and site.info("vm", late).find("USER_TEMPLATE/BACKUP") is None:
            machines.backup_section(site, late, f'FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{site.market}"')

    timer.run(options.context(verbose=False), watch, report)
    assert sorted(item.vm_id for item in report.of("done")) == sorted([*many, late]), report
    assert len(site.apps()) == 8
    assert all(checks.listed(site, number) for number in (*many, late))
