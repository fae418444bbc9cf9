# SPDX-License-Identifier: Apache-2.0
"""The rules of a run (docs/architecture.md), each broken on purpose: journal, deadlines, order, locks, undo."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e import checks, machines
from tests.e2e.machines import TWO_DISKS
from tests.e2e.proxy import Proxy
from tests.e2e.site import Result, Site


def test_a_step_is_journalled_before_it_is_done(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    first, seen = checks.backed_up(site, vm_id), {}

    def look(call: str) -> None:
        (path,) = site.journals()
        journal = json.loads(path.read_text())
        seen[call] = [(step["kind"], step["ended"]) for step in journal["steps"]], journal["facts"].get("complete")

    def looking(call: str) -> Callable[[], None]:
        return lambda: look(call)

    calls = ("one.template.allocate", "one.vm.action poweroff", "one.vm.disksaveas", "one.vm.action resume",
             "one.marketapp.allocate", "one.marketapp.delete")  # fmt: skip
    for call in calls:
        proxy.at(call, looking(call))
    assert checks.backed_up(site, vm_id, "--force") != first
    temporaries, power, apps = ("temporaries", False), ("power", False), ("apps", False)
    assert [seen[call][0] for call in calls] == [
        [temporaries], [temporaries, power], [temporaries, power], [temporaries, power],
        [temporaries, ("power", True), apps], [temporaries, ("power", True), apps],
    ]  # fmt: skip
    assert seen["one.marketapp.delete"][1] is True and seen["one.marketapp.allocate"][1] is None
    assert site.journals() == []


def test_without_a_journal_nothing_is_touched(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    journal = site.location / "var" / "onebackup" / "journal"
    journal.parent.mkdir(parents=True)
    journal.write_text("in the way")
    refused = site.onebackup("backup", vm_id)
    assert refused.code == 3 and str(journal) in refused.error_line, refused
    assert proxy.changing_calls() == []


def test_an_unreadable_journal_is_named_and_stops_nothing(site: Site) -> None:
    vm_id = machines.machine(site)
    journal = site.location / "var" / "onebackup" / "journal"
    journal.mkdir(parents=True)
    (journal / "0123.json").write_text("{broken")
    assert site.onebackup("backup", vm_id).code == 0
    found = site.onebackup("recover")
    assert found.code == 4 and str(journal / "0123.json") in found.out + found.err


@pytest.mark.parametrize(
    ("timeout", "slow", "words"),
    [
        ("power_off_s", "poweroff", "did not power off within 0.4 s"),
        ("power_on_s", "resume", "did not start within 0.4 s"),
        ("save_disk_s", "saveas", "did not end within 0.4 s"),
        ("upload_s", "import", "did not end within 0.4 s"),
    ],
)
def test_every_wait_of_a_backup_has_a_deadline(site: Site, timeout: str, slow: str, words: str) -> None:
    vm_id = machines.machine(site)
    before = site.everything()
    (site.folder / "short.yaml").write_text(f"timeouts: {{{timeout}: 0.4}}\n")
    site.front_end.control("slow", what=slow, seconds=1.2)

    failed = site.onebackup("backup", vm_id, ONEBACKUP_CONFIG=str(site.folder / "short.yaml"))

    assert failed.code == 1 and words in failed.error_line, failed
    checks.undone(site, before, vm_id)


@pytest.mark.parametrize(
    ("timeout", "slow", "words"),
    [("download_s", "download", "did not end within 0.4 s"), ("boot_s", "boot", "did not get to RUNNING within 0.4 s")],
)
def test_every_wait_of_a_restore_has_a_deadline(site: Site, timeout: str, slow: str, words: str) -> None:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    before = site.everything()
    site.configure(timeouts={timeout: 0.4})
    site.front_end.control("slow", what=slow, seconds=1.2)
    failed = site.onebackup("restore", vm_id, "-d", "default", "--logger", site.folder / "log")
    assert failed.code == 1 and words in failed.error_line, failed
    checks.as_expected(site, before)


def test_a_front_end_that_hangs_is_given_up_on(site: Site) -> None:
    vm_id = machines.machine(site)
    before = site.everything()
    site.configure(timeouts={"call_s": 0.5, "patience_s": 1})
    site.front_end.control("hang", method="one.vm.disksaveas", nth=1, seconds=30)
    failed = site.onebackup("backup", vm_id)
    assert failed.code == 1 and "did not answer one.vm.disksaveas within 0.5 s" in failed.err
    checks.undone(site, before, vm_id)


def test_a_resume_that_falls_back_is_tried_again(site: Site) -> None:
    vm_id = machines.machine(site)
    before = site.everything()
    site.front_end.control("slow", what="resume", seconds=0.2)
    site.front_end.control("next", what="resume", result="fail", vm=vm_id)
    failed = site.onebackup("backup", vm_id)
    assert failed.code == 1 and "resume" in failed.err and f"VM {vm_id} is RUNNING" in failed.err
    checks.undone(site, before, vm_id)


@pytest.mark.both_versions
def test_a_vm_that_cannot_be_resumed_is_said_loudly_and_recovered_later(site: Site) -> None:
    vm_id = machines.machine(site)
    apps, before = checks.backed_up(site, vm_id), site.everything()
    site.front_end.control("slow", what="resume", seconds=0.2)
    site.front_end.control("next", what="resume", result="fail", vm=vm_id, times=50)

    failed = site.onebackup("backup", vm_id, "--force")

    assert failed.code == 4
    assert failed.err.strip().endswith(f"to put it right: onevm resume {vm_id} && onebackup recover"), failed.err
    assert "POWEROFF" in failed.err and site.vm_state(vm_id) == machines.POWEROFF
    assert site.user_template(vm_id, "ONEBACKUP/STATE") == "ERROR" and len(site.journals()) == 1
    again = site.onebackup("backup", vm_id)
    assert again.code == 4 and "onebackup recover" in again.err, "not before that is put right"

    site.front_end.control("clear")
    assert checks.good(site.onebackup("recover")).out.strip()
    checks.undone(site, before, vm_id)
    assert site.recorded(vm_id) == apps


@pytest.mark.parametrize("call", ["one.vm.disksaveas", "one.vm.action resume"])
def test_a_vm_that_is_locked_in_the_middle(site: Site, proxy: Proxy, call: str) -> None:
    vm_id = machines.machine(site)
    before = site.everything()
    proxy.at(call, lambda: site.call("one.vm.lock", vm_id, 1, False))

    failed = site.onebackup("backup", vm_id)

    assert failed.code == 4
    command = f"onevm unlock {vm_id} && onevm resume {vm_id} && onebackup recover"
    assert failed.err.strip().endswith(f"to put it right: {command}"), failed.err
    site.call("one.vm.unlock", vm_id)
    assert site.onebackup("recover").code == 0
    checks.undone(site, before, vm_id)


def test_a_vm_that_is_terminated_while_its_disks_are_saved(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    apps, before = checks.backed_up(site, vm_id), site.everything()
    proxy.at("one.vm.disksaveas", lambda: machines.bring_to(site, vm_id, machines.DONE), nth=2)
    failed = site.onebackup("backup", vm_id, "--force")
    assert failed.code == 1 and "DONE" in failed.err, failed
    after = site.everything()
    for kind in ("template", "marketapp", "stored files", "journals"):
        assert after[kind] == before[kind]
    assert site.apps() == apps


def test_a_vm_that_is_terminated_while_its_disks_are_uploaded(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    proxy.at("one.marketapp.allocate", lambda: machines.bring_to(site, vm_id, machines.DONE))
    done = site.onebackup("backup", vm_id)
    assert done.code == 0 and "terminated meanwhile" in done.err
    (point,) = checks.listed(site, vm_id)
    assert point["problems"] == []
    checks.restored(site.onebackup("restore", vm_id, "-d", "default"))


def test_a_vm_started_by_somebody_while_its_disks_are_saved(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    before = site.everything()

    def start() -> None:
        site.call("one.vm.action", "resume", vm_id)
        machines.await_state(site, vm_id, machines.RUNNING)

    proxy.at("one.vm.disksaveas", start, nth=2)
    failed = site.onebackup("backup", vm_id)
    assert failed.code == 1 and "RUNNING" in failed.error_line
    checks.undone(site, before, vm_id)


def test_nothing_older_goes_before_the_new_one_is_recorded(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    first = checks.backed_up(site, vm_id)
    seen: list[Any] = []

    def look() -> None:
        points = [point for point in checks.listed(site, vm_id) if not point["problems"]]
        seen.append((site.recorded(vm_id), [point["id"] for point in points]))

    proxy.at("one.marketapp.delete", look)
    second = checks.backed_up(site, vm_id, "--force")
    assert seen == [(second, [first[-1], second[-1]])]
    order = [call for call in proxy.changing_calls() if call in ("one.vm.update", "one.marketapp.delete")]
    assert order[-1] == "one.vm.update", "OK is said last"


def test_a_listing_that_fails_deletes_nothing(site: Site) -> None:
    vm_id = machines.machine(site)
    first = checks.backed_up(site, vm_id)
    site.front_end.control("fail", method="one.marketapppool.info", nth=2, code=8192, message="database is locked")
    failed = site.onebackup("backup", vm_id, "--force")
    assert failed.code == 4 and "complete" in failed.err and "onebackup recover" in failed.err
    assert set(first) < set(site.apps())
    site.front_end.control("clear")
    assert site.onebackup("recover").code == 0
    assert site.apps() == site.recorded(vm_id) and not set(first) & set(site.apps())


def test_an_older_one_that_cannot_be_deleted_is_a_warning_not_a_failure(site: Site) -> None:
    vm_id = machines.machine(site)
    first = checks.backed_up(site, vm_id)
    site.call("one.marketapp.lock", first[-1], 1, False)
    done = site.onebackup("backup", vm_id, "--force")
    assert done.code == 0 and f"restore point {first[-1]} could not be deleted" in done.err
    assert f"restore point {first[-1]}" in site.user_template(vm_id, "ONEBACKUP/WARNING")
    site.call("one.marketapp.unlock", first[-1])
    checks.same_bytes(site, checks.restored(
        site.onebackup("restore", vm_id, "-d", "default", "--backup", first[-1])), first[:-1])  # fmt: skip


def test_two_runs_never_work_on_one_vm(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    seen: list[Result] = []

    def others() -> None:
        for arguments in (("backup", vm_id, "--force"), ("restore", vm_id, "-d", "default"), ("recover",)):
            seen.append(site.onebackup(*arguments))

    proxy.at("one.vm.action resume", others)
    apps = checks.backed_up(site, vm_id)
    backup, restore, recover = seen
    assert (backup.code, restore.code, recover.code) == (3, 3, 0)
    for result in seen:
        assert f"VM {vm_id} is being backed up by pid" in result.out + result.err
    assert site.apps() == apps


def test_undo_runs_in_reverse_order_and_its_failure_hides_nothing(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    before = site.everything()
    site.configure(timeouts={"undo_s": 1})
    site.front_end.control("fail", method="one.vm.disksaveas", nth=2, code=2048, message="quota exceeded")
    site.front_end.control("fail", method="one.template.delete", nth=1, code=2048, message="busy", times=100)

    failed = site.onebackup("backup", vm_id)

    assert failed.code == 4
    last = failed.err.splitlines()[-1]
    assert "quota exceeded" in last and "busy" in last and last.endswith("onebackup recover"), last
    assert last.index("quota exceeded") < last.index("busy"), "the first error comes first"
    calls = proxy.changing_calls()
    assert calls.index("one.vm.action resume") < calls.index("one.template.delete")
    assert site.vm_state(vm_id) == machines.RUNNING and len(site.journals()) == 1
    site.front_end.control("clear")
    proxy.calls.clear()
    assert site.onebackup("recover").code == 0
    assert not [call for call in proxy.calls if call.startswith("one.vm.action")], "each undo once"
    checks.undone(site, before, vm_id)


def test_apps_are_undone_before_their_images(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    before = site.everything()
    site.front_end.control("fail", method="one.marketapp.allocate", nth=3, code=8192, message="no")
    assert site.onebackup("backup", vm_id).code == 1
    calls = proxy.changing_calls()
    assert calls.index("one.marketapp.delete") < calls.index("one.template.delete") < calls.index("one.image.delete")
    checks.undone(site, before, vm_id)
