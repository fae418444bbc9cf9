# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebackup_driver import explaining, retry, schedule, states
from onebackup_driver.app import Marketplace
from onebackup_driver.pool_vm import PoolVm
from onebackup_driver.retry import Failure
from onebackup_driver.schedule import Circumstances, Decision
from onebackup_driver.site_rules import Configuration, Limits, Retry

NOW = 1_795_401_518  # 2026-11-23 02:38:38 UTC
DAY = 86400


def vm(vm_id: int = 1, last: Optional[int] = NOW - 2 * DAY, **changes: Any) -> PoolVm:
    section = {"FREQUENCY_SECONDS": str(DAY), "MARKETPLACE_ID": "100", **changes.pop("section", {})}
    if last is not None:
        section["LAST_BACKUP_TIME"] = str(last)
    machine = PoolVm(vm_id, f"vm{vm_id}", 0, states.RUNNING, NOW - 30 * DAY, 0, (1,), 10, 0, section, {})
    return machine._replace(**changes)


def around(site: Optional[Configuration] = None, **changes: Any) -> Circumstances:
    values: dict[str, Any] = {"now": NOW, "failures": {}, "requests": {}, **changes}
    return Circumstances(site or Configuration(time_zone="UTC"), **values)


def test_a_vm_is_due_when_its_period_is_over() -> None:
    decision = schedule.decide(vm(), around())
    assert decision.runs and decision.at == NOW - DAY and decision.overdue == 1.0
    young = schedule.decide(vm(last=NOW - 1000), around())
    assert (young.verdict, young.at) == (schedule.NOT_DUE, NOW - 1000 + DAY)


def test_the_most_overdue_relative_to_its_period_comes_first() -> None:
    hourly = vm(1, last=NOW - 5 * 3600, section={"FREQUENCY_SECONDS": "3600"})
    daily = vm(2, last=NOW - 3 * DAY)
    weekly = vm(3, last=NOW - 15 * DAY, section={"FREQUENCY_SECONDS": str(7 * DAY)})
    never = vm(4, last=None, started=NOW - 10 * DAY)
    new = vm(5, last=None, started=NOW - 60)
    plan = schedule.plan([new, weekly, daily, hourly, never, vm(6, last=NOW)], around())
    assert [item.machine.vm_id for item in plan] == [4, 1, 2, 3, 5, 6]
    assert [round(item.overdue, 2) for item in plan[:4]] == [10, 4, 2, 1.14]


@pytest.mark.parametrize(
    "machine, verdict, words",
    [
        (vm(section={"FREQUENCY_SECONDS": "daily"}), schedule.BAD, "FREQUENCY_SECONDS of VM 1 is 'daily'"),
        (vm(section={"WINDOW": "22-6"}), schedule.BAD, "write it like 22:00-06:00"),
        (vm(section={"TIME_ZONE": "Mars"}), schedule.BAD, "time zone 'Mars' is unknown"),
        (vm(state=states.VmState(1, 0), host_id=-1), schedule.EXCLUDED, "it is PENDING"),
        (vm(state=states.VmState(3, 69)), schedule.EXCLUDED, "it is BACKUP"),
        (vm(lock_level=2), schedule.EXCLUDED, "onevm unlock 1"),
        (vm(datastore_ids=()), schedule.EXCLUDED, "no disk"),
        (vm(section={"WINDOW": "08:00-09:00"}), schedule.CLOSED, "its WINDOW is 08:00-09:00"),
    ],
)
def test_why_a_vm_is_passed_over(machine: PoolVm, verdict: str, words: str) -> None:
    decision = schedule.decide(machine, around())
    assert decision.verdict == verdict and words in decision.reason


def test_the_marketplace_is_looked_at_before() -> None:
    known = {100: Marketplace(100, "backups", "http", enabled=False)}
    assert "is disabled" in schedule.decide(vm(), around(marketplaces=known)).reason
    assert "there is no marketplace 100" in schedule.decide(vm(), around(marketplaces={})).reason


def test_both_windows_must_be_open() -> None:
    site = Configuration(window="00:00-04:00", time_zone="UTC")
    assert schedule.decide(vm(), around(site)).runs
    later = schedule.decide(vm(section={"WINDOW": "03:00-05:00"}), around(site))
    assert later.verdict == schedule.CLOSED and later.at == NOW - NOW % DAY + 3 * 3600
    never = schedule.decide(vm(section={"WINDOW": "12:00-13:00"}), around(site))
    assert never.verdict == schedule.BAD and "never meets the site's window 00:00-04:00" in never.reason
    elsewhere = schedule.decide(vm(section={"WINDOW": "21:00-22:00", "TIME_ZONE": "America/New_York"}), around(site))
    assert elsewhere.runs, "21:38 in New York"


def test_a_request_is_left_to_the_worker() -> None:
    decision = schedule.decide(vm(last=NOW), around(requests={1: "a backup now"}))
    assert decision.verdict == schedule.REQUESTED and not decision.runs


def test_a_vm_that_is_being_backed_up_is_passed_over() -> None:
    decision = schedule.decide(vm(), around(busy=frozenset([1])))
    assert (decision.verdict, decision.reason) == (schedule.EXCLUDED, "a backup of it is running")


def test_a_failed_vm_waits_and_a_changed_section_does_not() -> None:
    machine = vm()
    failure = Failure(2, NOW - 60, "the host is down", retry.section_key(machine.backup))
    held = schedule.decide(machine, around(failures={1: failure}))
    assert held.verdict == schedule.FAILED_BEFORE and held.at == NOW - 60 + 2 * 900
    assert "2 times in a row: the host is down" in held.reason
    assert schedule.decide(vm(section={"MODE": "LIVE"}), around(failures={1: failure})).runs
    assert schedule.decide(machine, around(failures={1: failure}, now=NOW + 3600)).runs
    assert retry.section_key(vm(last=NOW).backup) == retry.section_key(vm(last=5).backup)


def test_the_pause_doubles_up_to_the_longest() -> None:
    rule = Retry(first_minutes=10, longest_minutes=60)
    assert [retry.pause_s(times, rule) // 60 for times in (1, 2, 3, 4, 5, 10_000)] == [10, 20, 40, 60, 60, 60]
    first = retry.failed(None, NOW, "x", "a")
    second = retry.failed(first, NOW + 1, "y", "a")
    assert (first.times, second.times, retry.failed(second, NOW, "z", "b").times) == (1, 2, 1)
    assert retry.not_before(Failure(1, NOW + 9 * DAY, "", "a"), "a", NOW, rule) == NOW + 600, "the clock was set back"


@given(st.integers(0, 10**6), st.integers(0, 40_000), st.integers(0, 10**5))
def test_jitter_is_a_pure_function_within_its_limit(vm_id: int, day: int, longest_s: int) -> None:
    found = schedule.jitter_s(vm_id, day, longest_s)
    assert 0 <= found <= longest_s and found == schedule.jitter_s(vm_id, day, longest_s)


def test_jitter_spreads_vms_and_days() -> None:
    by_vm = {schedule.jitter_s(vm_id, 20_000, 3600) // 360 for vm_id in range(200)}
    by_day = {schedule.jitter_s(7, day, 3600) // 360 for day in range(200)}
    assert len(by_vm) >= 10 and len(by_day) >= 10


def test_a_due_vm_is_late_by_its_jitter() -> None:
    site = Configuration(jitter_minutes=60)
    late_s = schedule.jitter_s(1, (NOW - 10) // DAY, 3600)
    machine = vm(last=NOW - 10 - DAY)
    before = schedule.decide(machine, around(site))
    assert late_s > 10 and (before.verdict, before.at) == (schedule.NOT_DUE, NOW - 10 + late_s)
    assert schedule.decide(machine, around(site, now=NOW - 10 + late_s)).runs
    hourly = vm(last=NOW - 3600 - 361, section={"FREQUENCY_SECONDS": "3600"})
    assert schedule.decide(hourly, around(site)).runs, "at most a tenth of the period"


def decided(vm_id: int, host: int = 0, datastore: int = 1, marketplace: int = 100) -> Decision:
    return Decision(vm(vm_id, host_id=host, datastore_ids=(datastore,)), schedule.DUE, "", marketplace_id=marketplace)


@pytest.mark.parametrize(
    "limits, words",
    [
        (Limits(total=1), "limits.total"),
        (Limits(per_host=1), "host 0 (limits.per_host)"),
        (Limits(per_datastore=1), "datastore 1 (limits.per_datastore)"),
        (Limits(per_marketplace=1), "marketplace 100 (limits.per_marketplace)"),
    ],
)
def test_each_limit_is_named(limits: Limits, words: str) -> None:
    assert words in schedule.obstacle(decided(2), [decided(1)], limits)
    assert schedule.obstacle(decided(2), [], limits) == ""


def test_vms_on_no_host_do_not_share_one() -> None:
    assert schedule.obstacle(decided(2, host=-1), [decided(1, host=-1)], Limits(per_host=1, per_datastore=9)) == ""


decisions = st.lists(
    st.builds(decided, st.integers(0, 99), st.integers(-1, 3), st.integers(0, 3), st.integers(100, 102)), max_size=40
)
limits_ = st.builds(Limits, *[st.integers(1, 5)] * 4)


@given(decisions, limits_)
def test_what_starts_never_exceeds_a_limit_and_what_waits_has_a_reason(waiting: list[Decision], limits: Limits) -> None:
    running: list[Decision] = []
    for item in waiting:
        if not schedule.obstacle(item, running, limits):
            running.append(item)
    assert len(running) <= limits.total
    for host in range(4):
        assert sum(item.machine.host_id == host for item in running) <= limits.per_host
    for datastore in range(4):
        assert sum(datastore in item.machine.datastore_ids for item in running) <= limits.per_datastore
    for item in waiting:
        assert any(item is other for other in running) or schedule.obstacle(item, running, limits)
    assert bool(running) == bool(waiting), "somebody always starts"


def test_the_time_budget() -> None:
    assert not schedule.over_budget(0, 1e9, 0)
    assert not schedule.over_budget(100, 100 + 599, 10)
    assert schedule.over_budget(100, 100 + 600, 10)


def test_the_plan_in_words() -> None:
    plan = schedule.plan([vm(1), vm(2), vm(3, last=NOW)], around())
    waits_for = schedule.slots(plan, [], Limits(total=1))
    lines = explaining.lines(plan, waits_for)
    assert lines[0].startswith("VM 1 (vm1): due since ") and "waiting" not in lines[0]
    assert "waiting for a slot: 1 backups are running (limits.total)" in lines[1]
    assert lines[2].startswith("VM 3 (vm3): not due until ")
    assert explaining.as_data(plan[1], waits_for[2])["waits_for"]
