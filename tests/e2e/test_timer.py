# SPDX-License-Identifier: Apache-2.0
"""`onebackup run`, `plan` and `status` as processes against the sandbox."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from onebackup_driver import queue
from tests.e2e import machines
from tests.e2e.machines import POWEROFF, RUNNING, backup_section, machine
from tests.e2e.proxy import Proxy
from tests.e2e.site import COMMAND, Site, wait

SHARE = Path(__file__).resolve().parents[2] / "share"
ON_ONE_HOST = 'SCHED_REQUIREMENTS="ID=0"'  # other tests may have made more hosts
LATELY = 'FREQUENCY_SECONDS="86400", LAST_BACKUP_TIME="{}"'


def state(site: Site) -> Path:
    return site.location / "var" / "onebackup"


def status(site: Site) -> dict[str, Any]:
    result = site.onebackup("status", "--json")
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


def plan(site: Site) -> dict[int, dict[str, Any]]:
    result = site.onebackup("plan", "--json")
    assert result.code == 0, result.err
    return {row["vm_id"]: row for row in json.loads(result.out)}


def _now() -> int:
    return int(time.time())


def closed_window() -> str:
    """An hour of the day that begins two hours from now, in UTC."""
    begin, end = (time.strftime("%H:%M", time.gmtime(_now() + hours * 3600)) for hours in (2, 3))
    return f"{begin}-{end}"


def backed_up(site: Site, vm_id: int) -> bool:
    return len(site.recorded(vm_id)) == 2 and site.user_template(vm_id, "ONEBACKUP/STATE") == "OK"


@pytest.mark.both_versions
def test_every_due_vm_is_backed_up_and_no_other(site: Site) -> None:
    site.configure(mode="POWEROFF")
    due = [machine(site), machine(site, state=POWEROFF), machine(site)]
    later = machine(site, backup=LATELY.format(_now()))
    without = machine(site, backup="-")
    result = site.onebackup("run")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert [backed_up(site, vm_id) for vm_id in due] == [True, True, True]
    assert [site.vm_state(vm_id) for vm_id in due] == [RUNNING, POWEROFF, RUNNING]
    assert site.recorded(later) == [] and site.user_template(without, "ONEBACKUP/STATE") == ""
    assert not site.journals()
    again = site.onebackup("run", "-v")
    assert again.code == 0 and "onebackup run: 0 done, 0 skipped, 0 failed" in again.out


def test_the_plan_gives_each_vm_its_reason(site: Site) -> None:
    site.configure(limits={"per_host": 1}, allowed_marketplace_types=["http"])
    first, second = machine(site, more=ON_ONE_HOST), machine(site, more=ON_ONE_HOST)
    later = machine(site, backup=LATELY.format(_now()))
    window = closed_window()
    closed = machine(site, backup=f'FREQUENCY_SECONDS="86400", WINDOW="{window}", TIME_ZONE="UTC"')
    bad = machine(site, backup='FREQUENCY_SECONDS="daily"')
    lost = machine(site, backup='FREQUENCY_SECONDS="86400", MARKETPLACE_ID="99999"')
    locked = machine(site)
    site.call("one.vm.lock", locked, 1, False)
    held = machine(site, state=machines.HOLD)
    found = plan(site)
    verdicts = {vm_id: found[vm_id]["verdict"] for vm_id in (first, second, later, closed, bad, lost, locked, held)}
    assert verdicts == {
        first: "due", second: "due", later: "not due", closed: "outside its window", bad: "bad BACKUP section",
        lost: "bad BACKUP section", locked: "excluded", held: "excluded",
    }  # fmt: skip
    assert sorted(bool(found[vm_id]["waits_for"]) for vm_id in (first, second)) == [False, True]
    result = site.onebackup("run", "--dry-run")
    lines = {int(line.split()[1]): line for line in result.out.splitlines() if line.startswith("VM ")}
    for vm_id, words in {
        later: "not due until", closed: f"its WINDOW is {window}", bad: "BACKUP/FREQUENCY_SECONDS", held: "it is HOLD",
        lost: "there is no marketplace 99999", locked: "onevm unlock",
    }.items():  # fmt: skip
        assert words in lines[vm_id], lines[vm_id]
    assert "waiting for a slot: 1 backups are running on host" in lines[first] + lines[second]
    assert "without a BACKUP section" in result.out or len(lines) == len(site.ids("vm"))
    assert site.apps() == []


def test_a_failure_is_reported_retried_later_and_does_not_starve_others(site: Site) -> None:
    site.configure(limits={"total": 1})
    broken, fine = machine(site, backup='FREQUENCY_SECONDS="300"'), machine(site)
    site.front_end.control("next", what="saveas", result="fail", times=1, vm=broken)
    first = site.onebackup("run")
    assert first.code == 1
    lines = first.out.splitlines()
    assert lines[0] == "onebackup run: 1 done, 0 skipped, 1 failed"
    assert lines[1].startswith(f"failed: VM {broken} (") and "image" in lines[1]
    assert backed_up(site, fine) and site.vm_state(broken) == RUNNING
    second = site.onebackup("run")
    assert (second.code, second.out) == (0, ""), "quiet until it is tried again"
    assert plan(site)[broken]["verdict"] == "failed before"
    assert [row["vm_id"] for row in status(site)["failures"]] == [broken]
    backup_section(site, broken, f'FREQUENCY_SECONDS="400",MARKETPLACE_ID="{site.market}"')
    assert site.onebackup("run").code == 0
    assert backed_up(site, broken) and status(site)["failures"] == []


def test_a_bad_section_is_reported_once_and_again_when_it_was_changed(site: Site) -> None:
    vm_id = machine(site, backup='FREQUENCY_SECONDS="86400", WINDOW="22-6"')
    first = site.onebackup("run")
    assert first.code == 1 and f"failed: VM {vm_id}" in first.out and "write it like 22:00-06:00" in first.out
    assert site.onebackup("run").code == 0
    backup_section(site, vm_id, f'FREQUENCY_SECONDS="often",MARKETPLACE_ID="{site.market}"')
    again = site.onebackup("run")
    assert again.code == 1 and "'often'" in again.out


def test_limits_hold_while_the_backups_run(site: Site) -> None:
    site.configure(limits={"total": 2, "per_host": 2})
    vm_ids = [machine(site) for _ in range(5)]
    site.front_end.control("slow", what="saveas", seconds=0.5)
    run = site.begin("run", "-v")
    most = 0

    def ended() -> bool:
        nonlocal most
        most = max(most, sum(site.user_template(vm_id, "ONEBACKUP/STATE") == "RUNNING" for vm_id in vm_ids))
        return run.process.poll() is not None

    wait("the run to end", ended, 60)
    result = run.end()
    assert result.code == 0 and "5 done" in result.out
    assert most == 2
    assert all(backed_up(site, vm_id) for vm_id in vm_ids)
    steps = [line for line in result.out.splitlines() if line.startswith(f"VM {vm_ids[0]} (")]
    assert any("Adding and saving regular disk" in line for line in steps)


class _Held:
    """The first disksaveas does not get through until `go`."""

    def __init__(self, proxy: Proxy) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        proxy.at("one.vm.disksaveas", self._hold)

    def _hold(self) -> None:
        self.reached.set()
        assert self.go.wait(50)


def test_a_run_that_still_goes_on_is_left_alone_and_shows_in_status(site: Site, proxy: Proxy) -> None:
    vm_id, held = machine(site), _Held(proxy)
    run = site.begin("run")
    assert held.reached.wait(30)
    second = site.onebackup("run")
    assert second.code == 0 and second.err == ""
    assert len(second.out.splitlines()) == 1 and "onebackup run is under way by pid" in second.out
    (running,) = status(site)["running"]
    assert running["vm_id"] == vm_id and running["step"] and running["size_mb"] == 1
    assert f"VM {vm_id} (" in site.onebackup("status").out
    held.go.set()
    assert run.end().code == 0
    assert status(site)["running"] == []


def test_sigterm_is_passed_on_and_every_backup_is_undone(site: Site) -> None:
    vm_ids = [machine(site), machine(site)]
    before = site.everything()
    site.front_end.control("slow", what="saveas", seconds=3)
    run = site.begin("run")
    for vm_id in vm_ids:
        wait(f"VM {vm_id} to be saved", lambda vm_id=vm_id: site.vm_state(vm_id) == (3, 27))  # type: ignore[misc]
    run.process.send_signal(signal.SIGTERM)
    site.front_end.control("clear")
    result = run.end()
    assert result.code == 128 + signal.SIGTERM
    assert "0 done, 0 skipped, 2 failed" in result.out and result.out.count("ended by signal 15") == 2
    assert [site.vm_state(vm_id) for vm_id in vm_ids] == [RUNNING, RUNNING]
    assert site.everything() == before


def test_backups_outlive_a_run_that_is_killed_and_the_next_run_counts_them(site: Site, proxy: Proxy) -> None:
    site.configure(limits={"total": 1})
    held, (first, second) = _Held(proxy), sorted([machine(site), machine(site)])
    run = site.begin("run")
    assert held.reached.wait(30)
    run.process.kill()
    run.process.communicate()
    next_run = site.onebackup("run", "-v")
    assert next_run.code == 0
    assert "0 done, 1 skipped, 0 failed" in next_run.out and f"skipped: VM {second} (" in next_run.out, next_run.out
    held.go.set()
    wait("the first backup to end", lambda: backed_up(site, first))
    assert not backed_up(site, second) and site.vm_state(first) == RUNNING
    wait("its process to end", lambda: not site.journals())


def test_a_run_begins_with_what_a_dead_run_left(site: Site) -> None:
    vm_id = machine(site)
    site.front_end.control("slow", what="saveas", seconds=1)
    run = site.begin("backup", vm_id)
    wait("the saving", lambda: site.vm_state(vm_id) == (3, 27))
    run.process.kill()
    run.process.communicate()
    assert site.journals()
    result = site.onebackup("run")
    assert result.code == 0, result.err
    assert f"recovered: VM {vm_id}: undid the backup of a process that died" in result.out
    assert backed_up(site, vm_id) and site.vm_state(vm_id) == RUNNING and not site.journals()


def test_requests_in_the_queue_are_carried_out(site: Site) -> None:
    vm_id = machine(site, backup=LATELY.format(_now() - 1000))
    queue.add(state(site) / "queue", vm_id, "now", "oneadmin")
    assert plan(site)[vm_id]["verdict"] == "requested"
    assert [row["vm_id"] for row in status(site)["queue"]] == [vm_id]
    result = site.onebackup("run", "-v")
    assert result.code == 0 and "1 done" in result.out
    assert backed_up(site, vm_id) and status(site)["queue"] == []


def test_the_time_budget_and_the_sites_window(site: Site) -> None:
    vm_id = machine(site)
    window = closed_window()
    site.configure(window=window, time_zone="UTC")
    assert site.onebackup("run").code == 0
    assert site.recorded(vm_id) == []
    assert f"the site's window is {window}" in site.onebackup("plan").out


def test_a_bad_configuration_names_key_and_line(site: Site) -> None:
    (site.location / "etc" / "onebackup.yaml").write_text("mode: LIVE\nlimits:\n  totl: 3\n")
    result = site.onebackup("run")
    assert result.code == 2
    assert "line 3: limits.totl is not an option" in result.error_line


@pytest.mark.parametrize("form", ["backup_vms", "systemd", "cron"])
def test_what_cron_and_systemd_start_is_the_run(site: Site, form: str) -> None:
    vm_id = machine(site)
    files = {"systemd": SHARE / "systemd" / "onebackup.service", "cron": SHARE / "cron" / "onebackup"}
    if form in files:
        assert "/usr/share/one/backup_vms" in files[form].read_text()
        return
    script = SHARE / "backup_vms"
    assert len(script.read_text().splitlines()) <= 10 and os.access(script, os.X_OK)
    done = subprocess.run([sys.executable, str(script), "-v"], env=site.environment, capture_output=True, text=True)
    assert done.returncode == 0 and "1 done" in done.stdout, done.stderr
    assert backed_up(site, vm_id)


def test_on_a_terminal_each_running_vm_has_a_line(site: Site) -> None:
    vm_id = machine(site)
    site.front_end.control("slow", what="saveas", seconds=1)
    ours, theirs = pty.openpty()
    environment = {**site.environment, "TERM": "xterm", "COLUMNS": "150"}
    with subprocess.Popen([str(COMMAND), "run"], env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as run:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:
            pass  # Linux tells the end of a terminal as EIO
        os.close(ours)
    assert run.returncode == 0
    text = shown.decode()
    assert f"VM {vm_id}" in text and "Adding and saving regular disk" in text and "1 MiB" in text
    assert "onebackup run:" not in text and backed_up(site, vm_id)


# -- high availability


def test_only_the_leader_acts(site: Site) -> None:
    vm_id = machine(site)
    site.front_end.control("raft", server_id=1, state=2)
    follower = site.onebackup("run")
    assert follower.code == 0 and follower.out == "this front-end is a follower, not the leader: nothing to do here\n"
    assert site.recorded(vm_id) == []
    (site.location / "etc" / "oned.conf").write_text("FEDERATION = [\n  MODE = \"STANDALONE\", SERVER_ID = 0 ]\n")
    site.front_end.control("raft", server_id=1, state=3)
    elsewhere = site.onebackup("run")
    assert elsewhere.code == 0 and "server 1 answers" in elsewhere.out and "this is server 0" in elsewhere.out
    (site.location / "etc" / "oned.conf").write_text("FEDERATION = [\n  MODE = \"STANDALONE\", SERVER_ID = 1 ]\n")
    assert site.onebackup("run").code == 0
    assert backed_up(site, vm_id)


def test_a_front_end_that_cannot_tell_refuses(site: Site) -> None:
    machine(site)
    site.front_end.control("raft", server_id=1, state="")
    result = site.onebackup("run")
    assert result.code == 3 and "cannot tell whether this front-end is the leader" in result.error_line
    assert site.apps() == []
