# SPDX-License-Identifier: Apache-2.0
"""Hooks fired by the front-end's hook manager, as processes, and what comes of it."""

from __future__ import annotations

import re
import time

import pytest

from onebackup_driver import queue
from sandbox.process import Refused
from tests.e2e import checks, machines
from tests.e2e.site import Site
from tests.hooks.hooked import Hooked, wait

both_versions = pytest.mark.both_versions
POWEROFF, RUNNING = machines.POWEROFF, machines.RUNNING


def vm(hooked: Hooked, **options: object) -> int:
    return machines.machine(hooked.site, **options)  # type: ignore[arg-type]


def update(hooked: Hooked, vm_id: int, section: str, append: int = 1) -> None:
    hooked.site.call("one.vm.update", vm_id, f"BACKUP=[{section}]", append)


def market(hooked: Hooked) -> str:
    return f'MARKETPLACE_ID="{hooked.site.market}"'


def backed_up(site: Site, vm_id: int) -> list[int]:
    result = site.onebackup("backup", vm_id, "--force")
    assert result.code == 0, result
    return site.recorded(vm_id)


def own_calls(hooked: Hooked, vm_id: int, method: str = "one.vm.update") -> int:
    return sum(1 for item in hooked.site.front_end.control("log") if item["method"] == method)


# -- vm_update: the verdict


@both_versions
def test_a_bad_section_is_told_and_a_good_one_again(hooked: Hooked) -> None:
    vm_id = vm(hooked, backup="-")
    update(hooked, vm_id, f'FREQUENCY_SECONDS="often", {market(hooked)}')
    wait("the verdict", lambda: hooked.told(vm_id).get("STATE") == "ERROR")
    assert "FREQUENCY_SECONDS" in hooked.told(vm_id)["MESSAGE"]
    assert "'often'" in hooked.told(vm_id)["MESSAGE"]
    update(hooked, vm_id, 'FREQUENCY_SECONDS="3600", MARKETPLACE_ID="9999"')
    wait("the next", lambda: "no marketplace 9999" in hooked.told(vm_id)["MESSAGE"])
    last = int(time.time()) - 600
    update(hooked, vm_id, f'FREQUENCY_SECONDS="3600", LAST_BACKUP_TIME="{last}", {market(hooked)}, MINE="kept"')
    wait("the last", lambda: hooked.told(vm_id).get("STATE") == "OK")
    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last + 3600))
    assert hooked.told(vm_id)["MESSAGE"] == f"next backup: {local}"
    assert hooked.told(vm_id)["NEXT_BACKUP"] == local
    assert "VERDICT" not in hooked.told(vm_id)
    assert hooked.section(vm_id)["MINE"] == "kept"
    assert not (hooked.state / "queue").exists(), "a verdict is no request"


def test_the_verdict_is_written_once_and_does_not_start_itself_again(hooked: Hooked) -> None:
    vm_id = vm(hooked, backup="-")
    update(hooked, vm_id, f'FREQUENCY_SECONDS="often", {market(hooked)}')
    hooked.said("vm_update", "FREQUENCY_SECONDS")
    hooked.said("vm_update", "not about BACKUP")  # our own update of ONEBACKUP
    before = own_calls(hooked, vm_id)
    update(hooked, vm_id, f'FREQUENCY_SECONDS="often", {market(hooked)}')
    hooked.said("vm_update", "nothing new to say")
    assert own_calls(hooked, vm_id) == before + 1, "only this test's own call"


def test_an_update_without_backup_is_not_looked_at(hooked: Hooked) -> None:
    vm_id = vm(hooked, backup="-")
    hooked.site.call("one.vm.update", vm_id, 'LABELS="a,b"', 1)
    hooked.said("vm_update", "not about BACKUP")
    hooked.site.call("one.vm.update", vm_id, 'LABELS="a,b"', 0)
    hooked.said("vm_update", "has no BACKUP section")
    assert hooked.told(vm_id) == {}


def test_a_section_taken_away_is_told_when_something_else_was_said(hooked: Hooked) -> None:
    vm_id = vm(hooked, backup="-")
    update(hooked, vm_id, f'FREQUENCY_SECONDS="3600", {market(hooked)}')
    wait("the verdict", lambda: hooked.told(vm_id).get("NEXT_BACKUP") == "with the next run")
    told = 'ONEBACKUP=[STATE="OK", MESSAGE="next backup: with the next run", NEXT_BACKUP="with the next run"]'
    hooked.site.call("one.vm.update", vm_id, told, 0)
    wait("the verdict", lambda: "not backed up" in hooked.told(vm_id)["MESSAGE"])
    assert "NEXT_BACKUP" not in hooked.told(vm_id)


@both_versions
def test_a_failing_update_is_left_alone(hooked: Hooked) -> None:
    vm_id = vm(hooked, backup="-")
    with pytest.raises(Refused):
        hooked.site.call("one.vm.update", vm_id, "BACKUP=[", 1)
    hooked.said("vm_update", "the call failed")


@both_versions
def test_ill_formed_call_info_is_survived(hooked: Hooked) -> None:
    vm_id = vm(hooked, backup="-")
    update(hooked, vm_id, f'FREQUENCY_SECONDS="a & <b>", {market(hooked)}, X="</VALUE><!DOCTYPE x [<!ENTITY y SYSTEM"')
    wait("the verdict", lambda: hooked.told(vm_id).get("STATE") == "ERROR")
    assert "'a & <b>'" in hooked.told(vm_id)["MESSAGE"]


# -- vm_update: ACTION="NOW"


@both_versions
def test_action_now_of_the_owner_makes_a_backup_and_is_cleared(hooked: Hooked) -> None:
    vm_id = vm(hooked, state=POWEROFF)
    site = hooked.site
    owner = machines.user(site)
    name = site.info("user", owner).findtext("NAME")
    site.call("one.vm.chown", vm_id, owner, -1)
    last = int(time.time()) - 10
    section = f'FREQUENCY_SECONDS="86400", LAST_BACKUP_TIME="{last}", {market(hooked)}, MINE="a \\"b\\"", ACTION="now"'
    site.front_end.call("one.vm.update", vm_id, f"BACKUP=[{section}]", 1, session=f"{name}:secret")
    hooked.said("vm_update", f"VM {vm_id}: queued (now)")
    wait("a restore point", lambda: len(site.recorded(vm_id)) == 2)
    assert [item[:2] for item in hooked.outcomes()] == [(vm_id, "now")]
    assert hooked.outcomes()[0][2].startswith(f"done: VM {vm_id}: restore point")
    assert hooked.section(vm_id)["MINE"] == 'a "b"'
    assert "ACTION" not in hooked.section(vm_id)
    assert hooked.told(vm_id)["STATE"] == "OK"
    assert hooked.told(vm_id)["NEXT_BACKUP"].startswith("20")
    assert "restore point" in hooked.told(vm_id)["MESSAGE"]


def test_action_now_with_a_bad_section_waits_for_a_good_one(hooked: Hooked) -> None:
    vm_id = vm(hooked, backup="-")
    update(hooked, vm_id, 'FREQUENCY_SECONDS="86400", MARKETPLACE_ID="9999", ACTION="NOW"')
    wait("the verdict", lambda: "no marketplace 9999" in hooked.told(vm_id).get("MESSAGE", ""))
    assert hooked.section(vm_id)["ACTION"] == "NOW"
    assert hooked.outcomes() == []


def test_an_unknown_action_is_told(hooked: Hooked) -> None:
    vm_id = vm(hooked, backup="-")
    update(hooked, vm_id, f'FREQUENCY_SECONDS="86400", {market(hooked)}, ACTION="LATER"')
    wait("the verdict", lambda: "the only action is NOW" in hooked.told(vm_id).get("MESSAGE", ""))


def test_a_refused_request_is_told_to_the_owner(hooked: Hooked) -> None:
    vm_id = vm(hooked, state=machines.HOLD)
    update(hooked, vm_id, f'FREQUENCY_SECONDS="86400", {market(hooked)}, ACTION="NOW"')
    wait("the refusal", lambda: "HOLD" in hooked.told(vm_id).get("MESSAGE", ""))
    assert hooked.told(vm_id)["STATE"] == "ERROR"
    assert [item[2].split(":")[0] for item in hooked.outcomes()] == ["failed"]


# -- vm_poweroff


@both_versions
def test_a_vm_that_is_off_and_due_is_backed_up_where_it_lies(hooked: Hooked) -> None:
    site = hooked.site
    vm_id = vm(hooked)
    site.call("one.vm.action", "poweroff", vm_id)
    hooked.said("vm_poweroff", f"VM {vm_id}: queued (off)")
    wait("a restore point", lambda: len(site.recorded(vm_id)) == 2)
    assert site.vm_state(vm_id) == POWEROFF
    assert "the VM was not down" in hooked.outcomes()[0][2]


@pytest.mark.parametrize("age, words", [(60_000, "queued (off)"), (10_000, "is not due soon")])
def test_what_is_due_within_a_part_of_its_period_is_taken(hooked: Hooked, age: int, words: str) -> None:
    last = int(time.time()) - age
    hooked.site.configure(opportunistic_fraction=0.5)
    vm_id = vm(hooked, backup=f'FREQUENCY_SECONDS="86400",LAST_BACKUP_TIME="{last}"')
    hooked.site.call("one.vm.action", "poweroff", vm_id)
    hooked.said("vm_poweroff", words)
    assert len(hooked.outcomes()) == (age == 60_000)


def test_a_vm_without_a_section_is_not_our_business(hooked: Hooked) -> None:
    vm_id = vm(hooked, backup="-")
    hooked.site.call("one.vm.action", "poweroff", vm_id)
    hooked.said("vm_poweroff", f"VM {vm_id} has no BACKUP section")


@both_versions
def test_a_poweroff_of_our_own_run_is_ignored(hooked: Hooked) -> None:
    vm_id = vm(hooked, disks=machines.TWO_DISKS)
    apps = backed_up(hooked.site, vm_id)
    wait("the hooks", lambda: len(hooked.executions("vm_poweroff")) > 1)
    assert hooked.outcomes() == []
    assert {item.code for item in hooked.executions("vm_poweroff")} == {0}
    assert hooked.site.recorded(vm_id) == apps
    assert hooked.site.vm_state(vm_id) == RUNNING


def test_a_vm_started_meanwhile_is_not_disturbed(hooked: Hooked) -> None:
    vm_id = vm(hooked)
    queue.add(hooked.state / "queue", vm_id, "off", "the VM was powered off")
    run = hooked.site.onebackup("work")
    assert run.code == 0, run
    assert hooked.outcomes() == [
        (vm_id, "off", f"dropped: VM {vm_id} was to be backed up while it is off, and it is RUNNING")
    ]
    assert hooked.site.vm_state(vm_id) == RUNNING
    assert hooked.site.recorded(vm_id) == []


# -- vm_done


def end(hooked: Hooked, vm_id: int) -> None:
    hooked.site.call("one.vm.action", "terminate-hard", vm_id)
    machines.await_state(hooked.site, vm_id, machines.DONE)


def test_a_terminated_vm_keeps_its_restore_points_by_default(hooked: Hooked) -> None:
    vm_id = vm(hooked, state=POWEROFF)
    hooked.until_idle()
    apps = hooked.site.recorded(vm_id) or backed_up(hooked.site, vm_id)
    end(hooked, vm_id)
    hooked.said("vm_done", f"VM {vm_id} is DONE; its restore points: keep")
    assert set(apps) <= set(hooked.site.apps())


@both_versions
def test_a_site_can_have_them_deleted(hooked: Hooked) -> None:
    site = hooked.site
    vm_id, other = vm(hooked, state=POWEROFF, disks=machines.TWO_DISKS), vm(hooked, state=POWEROFF)
    wait("both restore points", lambda: len(site.recorded(vm_id)) == 3 and len(site.recorded(other)) == 2)
    hooked.until_idle()
    site.configure(terminated_vms="delete")
    end(hooked, vm_id)
    hooked.said("vm_done", f"VM {vm_id}: queued (terminated)")
    wait("the deletion", lambda: site.apps() == sorted(site.recorded(other)))
    told = r"done: the VM was terminated: restore point \d+ of .* deleted"
    wait("the outcome", lambda: any(re.search(told, outcome[2]) for outcome in hooked.outcomes()))
    assert site.journals() == []


# -- vm_backup


@both_versions
def test_a_native_backup_call_is_delegated(hooked: Hooked, version: str) -> None:
    if version == "6.4":
        assert "onebackup_vm_backup" not in hooked.hook_ids(), "6.4 has no such call"
        return
    site = hooked.site
    vm_id, without = vm(hooked), vm(hooked, backup="-")
    for wanted in (without, vm_id):
        with pytest.raises(Refused):
            site.call("one.vm.backup", wanted, -1, False)
    hooked.said("vm_backup", f"VM {without} has no BACKUP section")
    hooked.said("vm_backup", f"VM {vm_id}: queued (native)")
    wait("a restore point", lambda: len(site.recorded(vm_id)) == 2)
    hooked.until_idle()
    assert site.vm_state(vm_id) == RUNNING
    made = int(checks.tags(site, site.recorded(vm_id)[-1])["TIME"])
    wait("the next second", lambda: time.time() >= made + 1)  # what is asked for within the same one is there already
    with pytest.raises(Refused):
        site.call("one.vm.backup", vm_id, -1, False)
    wait("it to be dropped", lambda: len(hooked.outcomes()) == 2)
    ended = " ".join(outcome for _, _, outcome in hooked.outcomes())  # within one second they have no order
    assert "not due until" in ended, "the event does not say who called: only when due"


# -- all


def test_a_hook_returns_while_its_backup_still_runs(hooked: Hooked) -> None:
    site = hooked.site
    site.front_end.control("slow", what="saveas", seconds=1.5)
    vm_id = vm(hooked)
    site.call("one.vm.action", "poweroff", vm_id)
    hooked.said("vm_poweroff", f"VM {vm_id}: queued (off)")
    assert site.recorded(vm_id) == []
    wait("a restore point", lambda: len(site.recorded(vm_id)) == 2)
