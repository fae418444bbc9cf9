# SPDX-License-Identifier: Apache-2.0
"""The worker: killed in the middle, started twice, and what it leaves for later."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from onebackup_driver import queue
from tests.e2e import checks, machines
from tests.e2e.conftest import site
from tests.e2e.site import Run, Site, wait

__all__ = ["site"]


def queue_of(site: Site) -> Path:
    return site.location / "var" / "onebackup" / "queue"


def outcomes(site: Site) -> list[tuple[int, str]]:
    return [(request.vm_id, outcome) for request, _, outcome in queue.finished(queue_of(site))]


def killed_when(site: Site, run: Run, what: str) -> None:
    """SIGKILL the worker as soon as its log says the words."""
    assert run.process.stdout is not None
    for line in run.process.stdout:
        if what in line:
            run.process.kill()
            run.process.wait()
            return
    raise AssertionError(f"the worker never said {what!r}")


@pytest.mark.both_versions
@pytest.mark.parametrize("step", ["Powering on VM", "Creating VM app"])
def test_a_request_whose_worker_was_killed_is_carried_out_once(site: Site, step: str) -> None:
    vm_id = machines.machine(site)
    queue.add(queue_of(site), vm_id, queue.NOW, "a test")
    killed_when(site, site.begin("work"), step)
    assert queue.claimed(queue_of(site))
    checks.good(site.onebackup("work"))
    assert [item[1].split(":")[0] for item in outcomes(site)] == ["done"]
    assert site.vm_state(vm_id) == machines.RUNNING
    assert site.apps() == sorted(site.recorded(vm_id)), "what the dead worker had begun is gone"
    assert (site.journals(), queue.claimed(queue_of(site))) == ([], [])


def test_a_backup_that_was_complete_when_its_worker_died_is_not_made_again(site: Site) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF)
    asked = queue.add(queue_of(site), vm_id, queue.NOW, "a test")
    wait("the next second", lambda: time.time() >= asked.requested_at + 1)
    killed_when(site, site.begin("work"), "Imported app ids")
    apps = site.apps()
    checks.good(site.onebackup("work"))
    assert site.apps() == apps == sorted(site.recorded(vm_id))
    assert outcomes(site) == [(vm_id, f"dropped: restore point {apps[-1]} was made since it was asked for")]


def test_one_worker_at_a_time(site: Site) -> None:
    vm_ids = [machines.machine(site, state=machines.POWEROFF) for _ in range(3)]
    for vm_id in vm_ids:
        queue.add(queue_of(site), vm_id, queue.NOW, "a test")
    runs = [site.begin("work") for _ in range(4)]
    assert {run.end().code for run in runs} == {0}
    assert {outcome.split(":")[0] for _, outcome in outcomes(site)} == {"done"}
    assert sorted(vm_id for vm_id, _ in outcomes(site)) == sorted(vm_ids)
    assert len(site.apps()) == 6


def test_a_vm_that_is_worked_on_waits(site: Site) -> None:
    vm_id = machines.machine(site)
    site.front_end.control("hang", method="one.marketapp.allocate", nth=1, seconds=2)
    by_hand = site.begin("backup", vm_id)
    wait("the run to begin", lambda: len(site.journals()) == 1)
    queue.add(queue_of(site), vm_id, queue.NOW, "a test")
    checks.good(site.onebackup("work"))
    (waiting,) = queue.waiting(queue_of(site))
    assert 50 < waiting.not_before - time.time() < 61
    assert by_hand.end().code == 0


def test_a_front_end_that_is_gone_loses_no_request(site: Site) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF)
    queue.add(queue_of(site), vm_id, queue.NOW, "a test")
    assert site.onebackup("work", ONE_XMLRPC="http://127.0.0.1:9/RPC2").code == 3
    assert [request.vm_id for request in queue.waiting(queue_of(site))] == [vm_id]


def test_sigterm_undoes_and_the_request_waits_again(site: Site) -> None:
    vm_id = machines.machine(site)
    before = site.everything()
    queue.add(queue_of(site), vm_id, queue.NOW, "a test")
    site.front_end.control("slow", what="saveas", seconds=3)
    run = site.begin("work")
    wait("the VM to be off", lambda: site.vm_state(vm_id) != machines.RUNNING)
    os.kill(run.process.pid, signal.SIGTERM)
    assert run.end().code == 128 + 15
    site.front_end.control("clear")
    checks.undone(site, before, vm_id)
    checks.good(site.onebackup("work"))
    assert [item[1].split(":")[0] for item in outcomes(site)] == ["done"]


def test_a_vm_that_is_gone_is_dropped(site: Site) -> None:
    vm_id = machines.machine(site, state=machines.DONE)
    queue.add(queue_of(site), vm_id, queue.NOW, "a test")
    checks.good(site.onebackup("work"))
    assert outcomes(site) == [(vm_id, f"dropped: VM {vm_id} was terminated meanwhile")]


def test_the_timer_takes_what_waits_and_an_action_whose_hook_was_lost(site: Site) -> None:
    site.configure(minimum_frequency_seconds=1)
    asked, queued = (machines.machine(site, state=machines.POWEROFF) for _ in range(2))
    for vm_id in (asked, queued):
        assert site.onebackup("backup", vm_id).code == 0
    before = {vm_id: site.recorded(vm_id) for vm_id in (asked, queued)}
    time.sleep(1.1)
    queue.add(queue_of(site), queued, queue.NOW, "a test")
    section = site.info("vm", asked).find("USER_TEMPLATE/BACKUP")
    assert section is not None
    values = ",".join(f'{item.tag}="{item.text}"' for item in section)
    machines.backup_section(site, asked, f'{values},ACTION="NOW"')
    ran = site.onebackup("run")
    assert ran.code == 0, ran
    for vm_id in (asked, queued):
        assert site.recorded(vm_id) != before[vm_id], ran
    assert site.user_template(asked, "BACKUP/ACTION") == ""
