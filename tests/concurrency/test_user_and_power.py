# SPDX-License-Identifier: Apache-2.0
"""The user works on the VM while it is saved: it ends in the power state that the user wants, or had."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e import checks, machines
from tests.e2e.machines import DONE, POWEROFF, RUNNING, SUSPENDED, TWO_DISKS
from tests.e2e.proxy import Proxy, cut
from tests.e2e.site import Result, Site, unique, wait

SAVE, RESUME = "one.vm.disksaveas", "one.vm.action resume"
KVM = 'SCHED_REQUIREMENTS="HYPERVISOR=kvm"'


def killed(site: Site, proxy: Proxy, vm_id: int, call: str, when: str) -> None:
    """A backup whose process is killed at its first such call."""
    run = site.begin("backup", vm_id, "--force")

    def kill() -> None:
        run.process.kill()
        if when == "before":
            cut()

    proxy.at(call, kill, when=when)
    run.process.communicate(timeout=60)
    assert run.process.returncode == -9


def host(site: Site) -> int:
    return int(site.call("one.host.allocate", f"other-{id(site)}-{len(site.ids('vm'))}", "dummy", "dummy", 0))


def resized(site: Site, vm_id: int) -> None:
    """A disk is resized, and that has ended."""
    before = site.vm_state(vm_id)
    site.call("one.vm.diskresize", vm_id, 0, "3")
    machines.await_state(site, vm_id, before)


def migrated(site: Site, vm_id: int) -> None:
    before = site.vm_state(vm_id)
    site.call("one.vm.migrate", vm_id, host(site), False)
    machines.await_state(site, vm_id, before)


def capacity(site: Site, vm_id: int) -> None:
    site.call("one.vm.resize", vm_id, 'MEMORY="96"', True)


def attached(site: Site, vm_id: int) -> None:
    before = site.vm_state(vm_id)
    site.call("one.vm.attach", vm_id, f'DISK=[IMAGE_ID="{machines.image(site, machines.Disk())}"]')
    machines.await_state(site, vm_id, before)


Deed = Callable[[Site, int], None]
AT_REST: list[Deed] = [resized, migrated, capacity, attached]


@pytest.mark.both_versions
@pytest.mark.parametrize("deed", AT_REST, ids=lambda deed: deed.__name__)
def test_changed_while_it_is_down_it_runs_again(site: Site, proxy: Proxy, deed: Deed) -> None:
    """Between our poweroff and the second saveas: what leaves the disks alone costs nothing, what does not the run."""
    vm_id = machines.machine(site, TWO_DISKS)
    proxy.at(SAVE, lambda: deed(site, vm_id), nth=2)
    ended = site.onebackup("backup", vm_id)
    assert site.vm_state(vm_id) == RUNNING, ended
    assert not site.journals()
    if deed is resized:
        assert ended.code == 1 and "disk 0 was resized by somebody else" in ended.error_line, ended
        assert site.apps() == []
    else:
        assert ended.code == 0, ended
    checks.good(site.onebackup("backup", vm_id, "--force"))
    again = checks.restored(site.onebackup("restore", vm_id, "-d", "default"))
    checks.same_bytes(site, again, site.recorded(vm_id)[:-1])


@pytest.mark.both_versions
@pytest.mark.parametrize("deed", AT_REST, ids=lambda deed: deed.__name__)
def test_changed_after_the_run_died_it_runs_again(site: Site, proxy: Proxy, deed: Deed) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    before = site.everything()
    killed(site, proxy, vm_id, SAVE, "before")
    deed(site, vm_id)
    recovered = site.onebackup("recover")
    assert (recovered.code, site.vm_state(vm_id)) == (0, RUNNING), recovered
    assert site.apps() == [] and site.ids("template") == before["template"]


@pytest.mark.parametrize("what", ["disk_resize", "migrate"])
def test_what_is_still_being_changed_is_waited_for(site: Site, proxy: Proxy, what: str) -> None:
    vm_id = machines.machine(site)
    killed(site, proxy, vm_id, SAVE, "before")
    site.front_end.control("slow", what=what, seconds=1.5)
    if what == "migrate":
        site.call("one.vm.migrate", vm_id, host(site), False)
    else:
        site.call("one.vm.diskresize", vm_id, 0, "3")
    recovered = site.onebackup("recover")
    assert (recovered.code, site.vm_state(vm_id)) == (0, RUNNING), recovered


def test_a_change_that_takes_too_long_is_told_with_the_command(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    site.configure(timeouts={"undo_s": 1})
    killed(site, proxy, vm_id, SAVE, "before")
    site.front_end.control("slow", what="migrate", seconds=4)
    site.call("one.vm.migrate", vm_id, host(site), False)
    told = site.onebackup("recover")
    assert told.code == 4 and "onebackup recover" in told.out + told.err, told
    machines.await_state(site, vm_id, POWEROFF)
    assert site.onebackup("recover").code == 0 and site.vm_state(vm_id) == RUNNING


# -- who stopped it after our resume


@pytest.mark.both_versions
def test_a_guest_that_shut_itself_down_after_our_resume_stays_off(site: Site, proxy: Proxy) -> None:
    """The run died before it could note that the VM was back: recover must not start it a second time."""
    vm_id = machines.machine(site)
    killed(site, proxy, vm_id, RESUME, "after")
    machines.await_state(site, vm_id, RUNNING)
    site.front_end.control("guest_ends", vm=vm_id)
    recovered = site.onebackup("recover")
    assert recovered.code == 0 and "leaving it alone" in recovered.err, recovered
    assert site.vm_state(vm_id) == POWEROFF and not site.journals()


@pytest.mark.both_versions
def test_a_resume_that_failed_is_done_again(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    site.front_end.control("next", what="resume", result="fail", vm=vm_id)
    killed(site, proxy, vm_id, RESUME, "after")
    machines.await_state(site, vm_id, POWEROFF)
    recovered = site.onebackup("recover")
    assert (recovered.code, site.vm_state(vm_id)) == (0, RUNNING), recovered


def test_a_stop_by_the_user_and_a_change_after_it(site: Site, proxy: Proxy) -> None:
    """The change copies the user's poweroff into a new record without its user: still the user's wish."""
    vm_id = machines.machine(site)
    killed(site, proxy, vm_id, RESUME, "after")
    machines.await_state(site, vm_id, RUNNING)
    machines.bring_to(site, vm_id, POWEROFF)
    resized(site, vm_id)
    assert site.onebackup("recover").code == 0 and site.vm_state(vm_id) == POWEROFF


def test_a_stop_by_the_user_and_a_migration_after_it(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    killed(site, proxy, vm_id, RESUME, "after")
    machines.await_state(site, vm_id, RUNNING)
    machines.bring_to(site, vm_id, POWEROFF)
    migrated(site, vm_id)
    assert site.onebackup("recover").code == 0 and site.vm_state(vm_id) == POWEROFF


@pytest.mark.parametrize("who", ["tenant", "guest"])
def test_stopped_by_another_after_we_died_before_our_poweroff(site: Site, proxy: Proxy, who: str) -> None:
    """The journal says that we were about to stop it; the history says who did."""
    vm_id = machines.machine(site)
    name = unique("tenant")
    site.call("one.vm.chown", vm_id, int(site.call("one.user.allocate", name, "secret", "core")), -1)
    killed(site, proxy, vm_id, "one.vm.action poweroff", "before")
    if who == "tenant":
        site.front_end.call("one.vm.action", "poweroff", vm_id, session=f"{name}:secret")
    else:
        site.front_end.control("guest_ends", vm=vm_id)
    machines.await_state(site, vm_id, POWEROFF)
    recovered = site.onebackup("recover")
    assert (recovered.code, site.vm_state(vm_id)) == (0, POWEROFF), recovered


@pytest.mark.parametrize("ends", ["guest", "poweroff", "suspend"])
def test_stopped_right_after_our_resume_the_backup_is_good(site: Site, proxy: Proxy, ends: str) -> None:
    """The VM ran: that it is down again when we look is somebody's wish and no reason to throw the copies away."""
    vm_id = machines.machine(site)

    def stop() -> None:
        machines.await_state(site, vm_id, RUNNING)
        if ends == "guest":
            site.front_end.control("guest_ends", vm=vm_id)
        else:
            machines.bring_to(site, vm_id, POWEROFF if ends == "poweroff" else SUSPENDED)

    proxy.at(RESUME, stop, when="after")
    ended = site.onebackup("backup", vm_id)
    assert ended.code == 0 and "stopped by somebody right after" in ended.err, ended
    assert site.vm_state(vm_id) == (SUSPENDED if ends == "suspend" else POWEROFF)
    assert site.recorded(vm_id) == site.apps() != [] and not site.journals()


# -- the user's own resume


def resume(site: Site, vm_id: int) -> None:
    site.call("one.vm.action", "resume", vm_id)


@pytest.mark.both_versions
def test_resumed_by_the_user_just_before_us(site: Site, proxy: Proxy) -> None:
    """All disks were copied: the backup is good, and the VM runs as both of us want."""
    vm_id = machines.machine(site, TWO_DISKS)
    proxy.at(RESUME, lambda: resume(site, vm_id))
    ended = site.onebackup("backup", vm_id)
    assert (ended.code, site.vm_state(vm_id)) == (0, RUNNING), ended
    assert site.recorded(vm_id) == site.apps() and not site.journals()


@pytest.mark.parametrize("nth", [1, 2])
def test_resumed_by_the_user_in_the_middle_of_the_copies(site: Site, proxy: Proxy, nth: int) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    before = site.everything()
    proxy.at(SAVE, lambda: resume(site, vm_id), nth=nth)
    ended = site.onebackup("backup", vm_id)
    assert ended.code == 1, ended
    machines.await_state(site, vm_id, RUNNING)
    checks.undone(site, before, vm_id)


# -- terminated


@pytest.mark.both_versions
@pytest.mark.parametrize("action", ["terminate", "terminate-hard"])
@pytest.mark.parametrize("call", [SAVE, RESUME])
def test_terminated_by_the_user(site: Site, proxy: Proxy, action: str, call: str) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    first, before = checks.backed_up(site, vm_id), site.everything()
    proxy.at(call, lambda: site.call("one.vm.action", action, vm_id))
    ended = site.onebackup("backup", vm_id, "--force")
    assert ended.code == 1 and f"VM {vm_id}" in ended.err.splitlines()[-1], ended
    machines.await_state(site, vm_id, DONE)
    assert site.apps() == first and not site.journals()
    assert site.ids("template") == before["template"]
    wait("no temporary image", lambda: not [name for name in names(site) if " - BACKUP - " in name])


def names(site: Site) -> list[str]:
    return [item.findtext("NAME", "") for item in site.pool("image")]


def test_terminate_is_refused_while_a_disk_is_copied_and_then_works(site: Site, proxy: Proxy) -> None:
    """oned does not terminate a VM in HOTPLUG_SAVEAS: the user tries again, and the run notices."""
    vm_id = machines.machine(site, TWO_DISKS)
    site.front_end.control("slow", what="saveas", seconds=0.5)
    answers: list[str] = []

    def end() -> None:
        for _ in range(400):
            try:
                site.call("one.vm.action", "terminate-hard", vm_id)
                return
            except Exception as error:
                answers.append(str(error))

    proxy.at(SAVE, end, when="after")
    ended = site.onebackup("backup", vm_id)
    assert ended.code == 1, ended
    assert "Could not terminate VM" in answers[0]
    machines.await_state(site, vm_id, DONE)
    assert site.apps() == [] and not site.journals()


# -- what changes nothing


def rename(site: Site, vm_id: int) -> None:
    site.call("one.vm.rename", vm_id, f"renamed {vm_id}")


def chown(site: Site, vm_id: int) -> None:
    site.call("one.vm.chown", vm_id, machines.user(site), -1)


def chmod(site: Site, vm_id: int) -> None:
    site.call("one.vm.chmod", vm_id, *([1] * 9))


@pytest.mark.parametrize("deed", [rename, chown, chmod], ids=lambda deed: deed.__name__)
@pytest.mark.parametrize("call", ["one.vm.action poweroff", RESUME, "one.marketapp.allocate"])
def test_renamed_or_given_away_in_the_middle(site: Site, proxy: Proxy, deed: Deed, call: str) -> None:
    vm_id = machines.machine(site)
    first = checks.backed_up(site, vm_id)
    proxy.at(call, lambda: deed(site, vm_id))
    ended: Result = site.onebackup("backup", vm_id, "--force")
    assert (ended.code, site.vm_state(vm_id)) == (0, RUNNING), ended
    assert site.recorded(vm_id) == site.apps() and not set(first) & set(site.apps())
    checks.good(site.onebackup("backup", vm_id, "--force"))


# -- just before our poweroff


@pytest.mark.parametrize("deed", [resized, attached, migrated], ids=lambda deed: deed.__name__)
def test_changed_just_before_it_was_to_be_stopped(site: Site, proxy: Proxy, deed: Deed) -> None:
    """A poweroff after that could not be told from the user's own by the history."""
    vm_id = machines.machine(site)
    before = site.everything()
    proxy.at("one.template.allocate", lambda: deed(site, vm_id))
    ended = site.onebackup("backup", vm_id)
    assert ended.code == 1 and "since this backup began" in ended.error_line, ended
    assert site.vm_state(vm_id) == RUNNING and not site.journals() and site.apps() == []
    assert site.ids("template") == before["template"]
    checks.good(site.onebackup("backup", vm_id, "--force"))


def test_restarted_by_the_user_just_before_it_was_to_be_stopped(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)

    def restart() -> None:
        machines.bring_to(site, vm_id, POWEROFF)
        resume(site, vm_id)
        machines.await_state(site, vm_id, RUNNING)

    proxy.at("one.template.allocate", restart)
    ended = site.onebackup("backup", vm_id)
    assert (ended.code, site.vm_state(vm_id)) == (1, RUNNING), ended
    checks.good(site.onebackup("backup", vm_id, "--force"))
