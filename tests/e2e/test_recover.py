# SPDX-License-Identifier: Apache-2.0
"""onebackup killed at every step, and what `recover` makes of it; signals; a front-end that dies."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from onebackup_driver.site_rules import Timeouts
from tests.e2e import checks, machines
from tests.e2e.machines import TWO_DISKS
from tests.e2e.proxy import Proxy, cut
from tests.e2e.site import Result, Site

# call, nth, before or after it was carried out, whether the restore point is complete by then
STEPS = [
    ("one.template.allocate", 1, "after", False),
    ("one.vm.action poweroff", 1, "after", False),
    ("one.vm.disksaveas", 1, "after", False),
    ("one.vm.disksaveas", 2, "before", False),
    ("one.vm.action resume", 1, "before", False),
    ("one.vm.action resume", 1, "after", False),
    ("one.marketapp.allocate", 1, "after", False),
    ("one.marketapp.allocate", 3, "before", False),
    ("one.marketapp.allocate", 3, "after", True),
    ("one.vm.update", 3, "before", True),
    ("one.image.delete", 2, "after", True),
    ("one.marketapp.delete", 1, "after", True),
    ("one.vm.update", 4, "after", True),
]


def killed(site: Site, proxy: Proxy, call: str, nth: int, when: str, *arguments: object) -> None:
    """Run onebackup and kill -9 it at one call, before or after that is carried out."""

    def kill() -> None:
        site.runs[-1].process.kill()
        if when == "before":
            cut()

    proxy.at(call, kill, nth, when)
    assert site.begin(*arguments).end().code == -signal.SIGKILL


@pytest.mark.parametrize(("call", "nth", "when", "complete"), STEPS)
def test_a_backup_killed_at_any_step_is_recovered(
    site: Site, proxy: Proxy, call: str, nth: int, when: str, complete: bool
) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    first, before = checks.backed_up(site, vm_id), site.everything()
    killed(site, proxy, call, nth, when, "backup", vm_id, "--force")

    found = site.onebackup("recover")

    assert found.code == 0, found
    assert site.vm_state(vm_id) == machines.RUNNING and site.journals() == []
    if complete:
        apps = site.recorded(vm_id)
        assert apps == site.apps() and len(apps) == 3 and not set(apps) & set(first)
        files = {site.stored_file(number).name for number in apps[:-1]}
        replaced = before["marketapp"] - set(first) | set(apps)
        checks.as_expected(site, {**before, "marketapp": replaced, "stored files": files})
        assert site.user_template(vm_id, "ONEBACKUP/STATE") == "OK"
    else:
        checks.undone(site, before, vm_id)
        assert site.recorded(vm_id) == first
        assert site.user_template(vm_id, "ONEBACKUP/STATE") == "ERROR"


@pytest.mark.parametrize(
    ("call", "when", "released"),
    [("one.image.allocate", "after", False), ("one.template.allocate", "after", False),
     ("one.template.instantiate", "after", False), ("one.vm.action release", "after", True)],
)  # fmt: skip
def test_a_restore_killed_at_any_step_is_recovered(
    site: Site, proxy: Proxy, call: str, when: str, released: bool
) -> None:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    before = site.everything()
    killed(site, proxy, call, 1, when, "restore", vm_id, "-d", "default")
    assert site.onebackup("recover").code == 0
    if released:
        (new_id,) = site.ids("vm") - before["vm"]
        machines.await_state(site, new_id, machines.RUNNING)
    else:
        checks.as_expected(site, before)
    assert site.journals() == []


@pytest.mark.parametrize("call", ["one.vm.action resume", "one.template.delete", "one.image.delete"])
def test_recover_killed_is_run_again(site: Site, proxy: Proxy, call: str) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    before = site.everything()
    killed(site, proxy, "one.vm.disksaveas", 2, "before", "backup", vm_id)
    killed(site, proxy, call, 1, "after", "recover")
    assert site.onebackup("recover").code == 0
    checks.undone(site, before, vm_id)


def test_what_recover_would_do_is_told_without_doing_it(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    killed(site, proxy, "one.vm.disksaveas", 1, "before", "backup", vm_id)
    proxy.calls.clear()
    told = checks.good(site.onebackup("recover", "--dry-run"))
    assert f"VM {vm_id}: would undo" in told.out and "power" in told.out and len(told.out.splitlines()) == 1
    assert proxy.changing_calls() == [] and site.vm_state(vm_id) == machines.POWEROFF
    assert site.onebackup("recover").code == 0
    assert "nothing to recover" in site.onebackup("recover").out


def test_the_next_backup_recovers_by_itself(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    killed(site, proxy, "one.vm.disksaveas", 2, "before", "backup", vm_id)
    result = site.onebackup("backup", vm_id)
    assert result.code == 0 and "undid the backup of a process that died" in result.err
    assert site.vm_state(vm_id) == machines.RUNNING and site.recorded(vm_id) == site.apps()
    assert site.journals() == []


@pytest.mark.parametrize(
    ("actions", "state"),
    [
        (("resume",), machines.RUNNING),
        (("resume", "poweroff"), machines.POWEROFF),
        (("undeploy",), machines.UNDEPLOYED),
        (("terminate-hard",), machines.DONE),
    ],
    ids=lambda value: "-".join(map(str, value)),
)
def test_hands_off_when_the_user_decided_meanwhile(
    site: Site, proxy: Proxy, actions: tuple[str, ...], state: tuple[int, int]
) -> None:
    vm_id = machines.machine(site)
    first, before = checks.backed_up(site, vm_id), site.everything()
    killed(site, proxy, "one.vm.disksaveas", 1, "after", "backup", vm_id, "--force")
    machines.await_state(site, vm_id, machines.POWEROFF)
    user_does(site, vm_id, *actions)
    recovered_with_hands_off(site, proxy, vm_id, state)
    after = site.everything()
    for kind in ("template", "marketapp", "stored files"):
        assert after[kind] == before[kind], kind
    assert site.apps() == first


def test_hands_off_when_the_vm_ran_again_and_the_user_powered_it_off(site: Site, proxy: Proxy) -> None:
    """The run died after its resume was carried out: the VM was back, what came later is the user's wish."""
    vm_id = machines.machine(site)
    killed(site, proxy, "one.vm.action resume", 1, "after", "backup", vm_id)
    machines.await_state(site, vm_id, machines.RUNNING)
    user_does(site, vm_id, "poweroff")
    recovered_with_hands_off(site, proxy, vm_id, machines.POWEROFF)


def user_does(site: Site, vm_id: int, *actions: str) -> None:
    ends = {"resume": machines.RUNNING, "poweroff": machines.POWEROFF, "undeploy": machines.UNDEPLOYED,
            "terminate-hard": machines.DONE}  # fmt: skip
    for action in actions:
        site.call("one.vm.action", action, vm_id)
        machines.await_state(site, vm_id, ends[action])


def recovered_with_hands_off(site: Site, proxy: Proxy, vm_id: int, state: tuple[int, int]) -> None:
    proxy.calls.clear()
    found = site.onebackup("recover")
    assert found.code == 0, found
    assert not [call for call in proxy.calls if call.startswith("one.vm.action")], proxy.calls
    assert site.vm_state(vm_id) == state and site.journals() == []
    if state != machines.RUNNING:
        assert "leaving it alone" in found.err


# -- signals


@pytest.mark.parametrize(
    ("call", "when"),
    [("one.template.allocate", "after"), ("one.vm.action poweroff", "after"), ("one.vm.disksaveas", "after"),
     ("one.vm.action resume", "before"), ("one.marketapp.allocate", "after")],
)  # fmt: skip
def test_sigterm_undoes_and_a_second_one_changes_nothing(site: Site, proxy: Proxy, call: str, when: str) -> None:
    vm_id = machines.machine(site)
    first, before = checks.backed_up(site, vm_id), site.everything()
    proxy.at(call, lambda: site.runs[-1].process.send_signal(signal.SIGTERM), when=when)
    for undo in ("one.vm.action resume", "one.template.delete"):
        proxy.at(undo, lambda: site.runs[-1].process.send_signal(signal.SIGTERM))

    ended = site.onebackup("backup", vm_id, "--force")

    assert ended.code == 143, ended
    assert "signal 15" in ended.error_line and "was removed" in ended.error_line
    checks.undone(site, before, vm_id)
    assert site.recorded(vm_id) == first and site.user_template(vm_id, "ONEBACKUP/STATE") == "ERROR"


def test_sigterm_when_the_restore_point_is_complete_already(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    proxy.at("one.image.delete", lambda: site.runs[-1].process.send_signal(signal.SIGTERM), when="after")
    ended = site.onebackup("backup", vm_id)
    assert ended.code in (0, 4), ended
    if ended.code == 4:
        assert "complete" in ended.error_line and "onebackup recover" in ended.error_line
        assert site.onebackup("recover").code == 0
    assert site.recorded(vm_id) == site.apps() and site.user_template(vm_id, "ONEBACKUP/STATE") == "OK"


def test_sigterm_of_a_restore_leaves_nothing(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    before = site.everything()
    proxy.at("one.template.instantiate", lambda: site.runs[-1].process.send_signal(signal.SIGTERM), when="after")
    ended = site.onebackup("restore", vm_id, "-d", "default", "--logger", site.folder / "log")
    assert ended.code == 143 and "was removed" in ended.error_line
    checks.as_expected(site, before)


@pytest.mark.parametrize("stuck, call", [("saveas", "one.vm.disksaveas"), ("import", "one.marketapp.allocate")])
def test_a_signal_ends_a_run_within_the_stated_time_whatever_hangs(
    own_site: Site, own_proxy: Proxy, stuck: str, call: str
) -> None:
    """docs/operations.md: what does not come to an end is given up, with the command, and left to recover."""
    rules = Timeouts(undo_s=1, power_on_s=2)
    own_site.configure(timeouts={"undo_s": rules.undo_s, "power_on_s": rules.power_on_s})
    vm_id = machines.machine(own_site)
    own_site.front_end.control("slow", what=stuck, seconds=60)
    began: list[float] = []

    def end_it() -> None:
        began.append(time.monotonic())
        own_site.runs[-1].process.send_signal(signal.SIGTERM)

    own_proxy.at(call, end_it, when="after")
    ended = own_site.onebackup("backup", vm_id)
    assert ended.code == 4 and ended.err.splitlines()[-1].count("onebackup recover") == 1, ended
    assert time.monotonic() - began[0] < rules.undo_in_all_s + 10
    if stuck == "import":
        assert own_site.vm_state(vm_id) == machines.RUNNING


# -- a front-end that dies


@pytest.fixture
def own_proxy(own_site: Site) -> Iterator[Proxy]:
    with Proxy(own_site.front_end.endpoint) as started:
        own_site.endpoint = started.endpoint
        yield started
    assert not started.problems, started.problems


def restart(site: Site) -> None:
    site.front_end.kill()
    site.front_end.restart()


@pytest.mark.parametrize(
    ("call", "when"),
    [("one.vm.action poweroff", "after"), ("one.vm.disksaveas", "after"), ("one.vm.action resume", "before"),
     ("one.marketapp.allocate", "after")],
)  # fmt: skip
def test_a_front_end_that_dies_and_comes_back(own_site: Site, own_proxy: Proxy, call: str, when: str) -> None:
    vm_id = machines.machine(own_site, TWO_DISKS)
    first, before = checks.backed_up(own_site, vm_id), own_site.everything()
    own_proxy.at(call, lambda: restart(own_site), when=when)

    result = own_site.onebackup("backup", vm_id, "--force")

    honest(own_site, result, before, vm_id, first)


def test_a_front_end_that_stays_away(own_site: Site, own_proxy: Proxy) -> None:
    vm_id = machines.machine(own_site, TWO_DISKS)
    first, before = checks.backed_up(own_site, vm_id), own_site.everything()
    own_site.configure(timeouts={"patience_s": 1})
    own_proxy.at("one.vm.disksaveas", own_site.front_end.kill, nth=2)

    failed = own_site.onebackup("backup", vm_id, "--force")

    assert failed.code == 4, failed
    last = failed.err.splitlines()[-1]
    assert last.startswith("ERROR: ") and last.endswith("onebackup recover"), last
    own_site.front_end.restart()
    assert own_site.onebackup("recover").code == 0
    checks.undone(own_site, before, vm_id)
    assert own_site.recorded(vm_id) == first


def honest(site: Site, result: Result, before: dict[str, set[object]], vm_id: int, first: list[int]) -> None:
    """Exit 0 with a whole restore point, or 1 with everything as before."""
    assert result.code in (0, 1), result
    if result.code == 1:
        checks.undone(site, before, vm_id)
        assert site.recorded(vm_id) == first
        return
    apps = site.recorded(vm_id)
    assert apps == site.apps() and not set(apps) & set(first)
    after = site.everything()
    assert site.vm_state(vm_id) == machines.RUNNING
    for kind in ("template", "image", "datastore files", "vm", "journals"):
        assert after[kind] == before[kind], kind


# -- answers that are lost


@pytest.mark.parametrize(
    ("call", "nth"),
    [("one.vm.update", 1), ("one.template.allocate", 1), ("one.vm.action", 1), ("one.vm.disksaveas", 1),
     ("one.template.update", 1), ("one.vm.action", 2), ("one.marketapp.allocate", 1),
     ("one.marketapp.allocate", 3), ("one.vm.update", 3), ("one.template.delete", 1), ("one.image.delete", 1),
     ("one.marketapp.delete", 1), ("one.vm.update", 4)],
)  # fmt: skip
def test_a_lost_answer_changes_nothing_for_the_better_or_worse(site: Site, call: str, nth: int) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    first, before = checks.backed_up(site, vm_id), site.everything()
    site.front_end.control("drop", method=call, nth=nth, when="after")
    result = site.onebackup("backup", vm_id, "--force")
    honest(site, result, before, vm_id, first)
    assert result.code == 0, result


@pytest.mark.parametrize(
    "call", ["one.image.allocate", "one.template.allocate", "one.template.instantiate", "one.vm.chmod", "one.vm.chown",
             "one.vm.action"],
)  # fmt: skip
def test_a_lost_answer_in_a_restore(site: Site, call: str) -> None:
    vm_id = machines.machine(site)
    site.call("one.vm.chown", vm_id, machines.user(site), -1)
    apps, before = checks.backed_up(site, vm_id), site.everything()
    site.front_end.control("drop", method=call, nth=1, when="after")
    new_id = checks.restored(site.onebackup("restore", vm_id, "-d", "default"))
    assert site.ids("vm") == before["vm"] | {new_id} and site.vm_state(new_id) == machines.RUNNING
    assert [len(site.ids(kind)) - len(before[kind]) for kind in ("image", "template")] == [1, 1]
    checks.same_bytes(site, new_id, apps[:-1])
