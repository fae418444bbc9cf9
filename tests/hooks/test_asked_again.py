# SPDX-License-Identifier: Apache-2.0
"""When a request is carried out although there is a restore point, and when it has to wait: none gets lost, and nobody
asks others out of their turn."""

from __future__ import annotations

import time

import pytest

from onebackup_driver import clock, queue, serving, template_text
from onebackup_driver.cli import options
from tests.e2e import checks, machines
from tests.e2e.conftest import site
from tests.e2e.site import Site, wait
from tests.e2e.test_states_and_modes import LIVE_DISKS, ON_KVM
from tests.hooks.test_worker import outcomes, queue_of

__all__ = ["site"]

SHUT = machines.POWEROFF


def asked(site: Site, vm_id: int, reason: str = queue.NOW) -> None:
    queue.add(queue_of(site), vm_id, reason, "a test")


def when(site: Site, apps: list[int]) -> int:
    return int(checks.tags(site, apps[-1])["TIME"])


def rewritten(site: Site, app_id: int, **values: object) -> None:
    """The app's ONEBACKUP with other values."""
    tags = {**checks.tags(site, app_id), **{key: str(value) for key, value in values.items()}}
    site.call("one.marketapp.update", app_id, template_text.render([("ONEBACKUP", tags)]), 1)


def quickly(site: Site) -> int:
    """A VM with a restore point, on a site whose floor is over already."""
    site.configure(minimum_frequency_seconds=1)
    vm_id = machines.machine(site, state=SHUT)
    last = when(site, checks.backed_up(site, vm_id))
    wait("the floor to be over", lambda: time.time() > last + 1)
    return vm_id


def test_what_is_asked_in_the_second_of_a_restore_point_is_carried_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest may have gone on in between: a second is long."""
    vm_id = quickly(site)
    before = site.recorded(vm_id)
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: when(site, before))
        asked(site, vm_id)
    checks.good(site.onebackup("work"))
    assert site.recorded(vm_id) != before, outcomes(site)


def test_a_restore_point_of_a_time_that_has_not_come_satisfies_nobody(site: Site) -> None:
    """The clock was ahead when it was made, and was set right."""
    vm_id = quickly(site)
    before = site.recorded(vm_id)
    rewritten(site, before[-1], TIME=int(time.time()) + 3600)
    asked(site, vm_id)
    checks.good(site.onebackup("work"))
    assert site.recorded(vm_id) != before, outcomes(site)


def test_what_is_asked_while_a_running_guest_is_copied_is_carried_out_afterwards(site: Site) -> None:
    """The first disk was copied before: what the guest has written since is not in it."""
    site.configure(minimum_frequency_seconds=1)
    machines.kvm_host(site)
    vm_id = machines.machine(site, LIVE_DISKS, more=ON_KVM)
    site.front_end.control("slow", what="saveas", seconds=1.2)
    run = site.begin("backup", vm_id, "--mode", "LIVE")
    wait("the first disk", lambda: site.vm_state(vm_id) == (3, 26))
    began = int(time.time())
    wait("the next second", lambda: time.time() > began + 1)
    asked(site, vm_id)
    checks.good(run.end())
    before = site.recorded(vm_id)
    site.front_end.control("clear")
    wait("the floor to be over", lambda: time.time() > when(site, before) + 1)
    checks.good(site.onebackup("work"))
    assert site.recorded(vm_id) != before, outcomes(site)


def test_now_keeps_to_the_floor_of_the_site_and_is_not_lost(site: Site) -> None:
    """Else one loop of one.vm.update has all places taken and the marketplace rewritten all day."""
    vm_id = machines.machine(site, state=SHUT)
    apps = checks.backed_up(site, vm_id)
    last = when(site, apps)
    wait("the next second", lambda: time.time() > last + 1)
    asked(site, vm_id)
    checks.good(site.onebackup("work"))
    assert site.apps() == apps and outcomes(site) == []
    (waiting,) = queue.waiting(queue_of(site))
    assert last + 298 <= waiting.not_before <= last + 301
    until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(waiting.not_before))
    assert f"waits until {until}" in checks.good(site.onebackup("status")).out
    told = site.user_template(vm_id, "ONEBACKUP/MESSAGE")
    assert "a backup was asked for" in told and "minimum_frequency_seconds" in told
    assert site.user_template(vm_id, "ONEBACKUP/RESTORE_POINT") == str(apps[-1])
    rewritten(site, apps[-1], TIME=last - 300)
    asked(site, vm_id)
    (again,) = queue.waiting(queue_of(site))
    assert again.not_before == waiting.not_before, "asking again makes nothing begin sooner"
    place = queue_of(site) / "waiting" / again.file_name
    place.write_text(place.read_text().replace(str(again.not_before), "0"))
    checks.good(site.onebackup("work"))
    assert site.recorded(vm_id) != apps and [text.split(":")[0] for _, text in outcomes(site)] == ["done"]


@pytest.mark.parametrize("reason", [queue.OFF, queue.NATIVE])
def test_a_last_backup_time_of_the_owners_does_not_get_round_the_floor(site: Site, reason: str) -> None:
    vm_id = machines.machine(site, state=SHUT)
    apps = checks.backed_up(site, vm_id)
    wait("the next second", lambda: time.time() > when(site, apps) + 1)
    section = f'FREQUENCY_SECONDS="300",MARKETPLACE_ID="{site.market}",LAST_BACKUP_TIME="1"'
    machines.backup_section(site, vm_id, section)
    asked(site, vm_id, reason)
    checks.good(site.onebackup("work"))
    ((_, said),) = outcomes(site)
    assert said.startswith("dropped:") and "minimum_frequency_seconds" in said
    assert site.apps() == apps


def test_a_worker_ends_although_more_is_asked_for_all_the_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the timer waits for the worker that it started."""
    vm_ids = [machines.machine(site, state=SHUT) for _ in range(2)]
    for vm_id in vm_ids:
        asked(site, vm_id)
    for key, value in site.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(serving, "_LONGEST_S", 0.0)
    assert len(serving.work(options.context(verbose=False))) == 1
    assert len(queue.waiting(queue_of(site))) == 1


def test_the_worker_leaves_the_place_to_a_vm_that_is_due(site: Site) -> None:
    """With one place in all, whoever asks on and on would always be the first to take it: the timer gets its turn."""
    vm_ids = [machines.machine(site, state=SHUT) for _ in range(2)]
    for vm_id in vm_ids:
        asked(site, vm_id)
    checks.good(site.onebackup("work"))
    first, second = sorted((queue_of(site) / "finished").glob("*.json"))
    later = queue.finished(queue_of(site))[1][0].vm_id
    assert when(site, site.recorded(later)) > first.stat().st_mtime + serving._TURN_S - 1, (first, second)
