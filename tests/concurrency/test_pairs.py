# SPDX-License-Identifier: Apache-2.0
"""Two of ours at the same time: timer, CLI, hooks, restore, and the other front-end of an HA pair."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.concurrency.stage import Place
from tests.e2e import checks, machines
from tests.e2e.machines import RUNNING, TWO_DISKS
from tests.e2e.proxy import Proxy
from tests.e2e.site import Result, Site, wait
from tests.faults import seen
from tests.hooks.conftest import hooked  # noqa: F401  # a fixture
from tests.hooks.hooked import Hooked

POWEROFF_CALL, SAVE, RESUME = "one.vm.action poweroff", "one.vm.disksaveas", "one.vm.action resume"
BUSY = r"VM {} is being backed up by pid \d+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def elsewhere(site: Site, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of the other front-end: the same oned, its own state; ended with the same configuration."""
    place = tmp_path / "other"
    (place / "etc").mkdir(parents=True)
    if (site.location / "etc" / "onebackup.yaml").exists():
        shutil.copy(site.location / "etc" / "onebackup.yaml", place / "etc")
    yield {"ONE_LOCATION": str(place), "ONE_XMLRPC": site.front_end.endpoint}
    assert not list((place / "var" / "onebackup" / "journal").glob("*.json")), "the other front-end left a journal"


def good_points(site: Site, vm_id: int) -> list[int]:
    """The VMTEMPLATE apps of the good restore points, as `list` says; none is damaged."""
    listed = checks.listed(site, vm_id)
    assert not [item for item in listed if item["problems"]], listed
    return [item["id"] for item in listed]


def no_temporaries(site: Site) -> None:
    for kind in ("template", "image"):
        assert not [name for name in (item.findtext("NAME", "") for item in site.pool(kind)) if " - BACKUP - " in name]


def in_step(site: Site, proxy: Proxy, call: str, other: tuple[object, ...], when: str = "after", nth: int = 1,
            **environment: str) -> list[Result]:  # fmt: skip
    """Another command, begun and ended in the middle of a call of the next run; its result when there is one."""
    ended: list[Result] = []
    proxy.at(call, lambda: ended.append(site.onebackup(*other, **environment)), nth=nth, when=when)
    return ended


def test_the_timer_and_the_cli(site: Site, proxy: Proxy) -> None:
    vm_id, other = machines.machine(site), machines.machine(site)
    told = in_step(site, proxy, RESUME, ("run", "-v"), "before")
    checks.good(site.onebackup("backup", vm_id))
    (run,) = told
    assert run.code == 0 and f"VM {other} " in run.out, run
    plan = site.onebackup("plan").out
    assert good_points(site, vm_id) and good_points(site, other) and "Traceback" not in plan
    assert [site.vm_state(number) for number in (vm_id, other)] == [RUNNING, RUNNING]


def test_the_cli_while_the_timer_works(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    told = in_step(site, proxy, RESUME, ("backup", vm_id, "--force"), "before")
    checks.good(site.onebackup("run"))
    (refused,) = told
    assert refused.code == 3 and re.search(BUSY.format(vm_id), refused.error_line), refused
    assert len(good_points(site, vm_id)) == 1


def test_many_at_once(site: Site) -> None:
    """One works; every other one is told by whom and since when, and touches nothing."""
    vm_id = machines.machine(site, TWO_DISKS)
    site.front_end.control("slow", what="saveas", seconds=0.7)
    ended = [run.end() for run in [site.begin("backup", vm_id, "--force") for _ in range(4)]]
    assert sorted(result.code for result in ended)[0] == 0 and {result.code for result in ended} <= {0, 3}
    for result in ended:
        assert result.code == 0 or re.search(BUSY.format(vm_id), result.error_line), result
    assert len(good_points(site, vm_id)) == 1 and site.recorded(vm_id) == site.apps()
    assert site.vm_state(vm_id) == RUNNING
    no_temporaries(site)


def test_two_hooks_at_once(hooked: Hooked) -> None:  # noqa: F811
    site = hooked.site
    vm_id = machines.machine(site)
    section = f'ACTION="NOW",FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{site.market}"'
    asking = [threading.Thread(target=machines.backup_section, args=(site, vm_id, section)) for _ in range(2)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    wait("a backup", lambda: site.user_template(vm_id, "ONEBACKUP/STATE") == "OK", 60)
    hooked.until_idle()
    assert len(good_points(site, vm_id)) == 1 and site.recorded(vm_id) == site.apps()
    assert site.vm_state(vm_id) == RUNNING and not site.user_template(vm_id, "BACKUP/ACTION")
    assert all(outcome.split(":")[0] in ("done", "dropped") for _, _, outcome in hooked.outcomes()), hooked.outcomes()


# -- two front-ends


@pytest.mark.both_versions
@pytest.mark.parametrize(
    ("call", "when", "nth"),
    [("one.template.allocate", "after", 1), (POWEROFF_CALL, "after", 1), (SAVE, "before", 1), (SAVE, "after", 1),
     (SAVE, "before", 2), (RESUME, "before", 1), (RESUME, "after", 1), ("one.marketapp.allocate", "before", 1),
     ("one.marketapp.allocate", "after", 3), ("one.marketapp.delete", "before", 1)],
)  # fmt: skip
def test_both_front_ends_back_the_same_vm_up(
    site: Site, proxy: Proxy, elsewhere: dict[str, str], call: str, when: str, nth: int
) -> None:
    """The locks are each front-end's own. Whoever wins: good restore points, the VM RUNNING, nothing left."""
    vm_id = machines.machine(site, TWO_DISKS)
    checks.backed_up(site, vm_id)
    told = in_step(site, proxy, call, ("backup", vm_id, "--force"), when, nth, **elsewhere)
    here = site.onebackup("backup", vm_id, "--force")
    (there,) = told
    assert {here.code, there.code} <= {0, 1, 3} and 0 in (here.code, there.code), (here, there)
    machines.await_state(site, vm_id, RUNNING)
    points = good_points(site, vm_id)
    assert points and site.recorded(vm_id)[-1] == max(points)
    site.__class__ = Place  # the same corner, with what `seen` needs
    found = seen.points(site)  # type: ignore[arg-type]
    assert not [point for point in found.values() if point.fault], found
    no_temporaries(site)
    assert site.onebackup("recover").out == "nothing to recover\n" and not site.journals()
    checks.good(site.onebackup("backup", vm_id, "--force"))


@pytest.mark.parametrize("nth", [1, 2])
def test_the_other_front_end_restores_what_is_replaced(
    site: Site, proxy: Proxy, elsewhere: dict[str, str], nth: int
) -> None:
    """Its apps go while they are downloaded: the restore fails and leaves nothing, the backup is good."""
    vm_id = machines.machine(site, TWO_DISKS)
    checks.backed_up(site, vm_id)
    before = site.everything()
    ended: list[Result] = []
    proxy.at("one.image.allocate", lambda: ended.append(site.onebackup("backup", vm_id, "--force", **elsewhere)), nth)
    restore = site.onebackup("restore", vm_id, "-d", "default")
    checks.good(ended[0])
    assert len(good_points(site, vm_id)) == 1
    if restore.code == 0:
        checks.same_bytes(site, checks.restored(restore), site.recorded(vm_id)[:-1])
    else:
        assert restore.code == 1 and "app" in restore.err.splitlines()[-1], restore
        after = site.everything()
        for kind in ("template", "image", "vm", "journals"):
            assert after[kind] == before[kind], kind
    checks.restored(site.onebackup("restore", vm_id, "-d", "default"))


@pytest.mark.both_versions
def test_a_restore_and_the_removal_of_a_terminated_vm(site: Site, proxy: Proxy, elsewhere: dict[str, str]) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    checks.backed_up(site, vm_id)
    machines.bring_to(site, vm_id, machines.DONE)
    before = site.everything()
    other = Path(elsewhere["ONE_LOCATION"]) / "etc" / "onebackup.yaml"
    other.write_text("terminated_vms: delete\n")
    ended: list[Result] = []
    proxy.at("one.image.allocate", lambda: ended.append(site.onebackup("run", **elsewhere)), 2)
    restore = site.onebackup("restore", vm_id, "-d", "default")
    assert ended[0].code == 0 and good_points(site, vm_id) == [] and site.apps() == []
    assert restore.code == 1 and "app" in restore.err.splitlines()[-1], restore
    after = site.everything()
    for kind in ("template", "image", "vm", "journals"):
        assert after[kind] == before[kind], kind


def test_a_restore_while_the_vm_is_backed_up_here_is_refused(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    told = in_step(site, proxy, "one.marketapp.allocate", ("restore", vm_id, "-d", "default"), "before")
    checks.good(site.onebackup("backup", vm_id, "--force"))
    assert told[0].code == 3 and re.search(BUSY.format(vm_id), told[0].err), told


def test_a_backup_while_the_vm_is_restored_here_is_refused(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    told = in_step(site, proxy, "one.image.allocate", ("backup", vm_id, "--force"), "before")
    checks.restored(site.onebackup("restore", vm_id, "-d", "default"))
    assert told[0].code == 3 and f"VM {vm_id} is being restored by pid" in told[0].error_line, told


def test_looking_disturbs_nobody(site: Site, proxy: Proxy) -> None:
    """list, plan, status and recover --dry-run at calls of a backup: the calls that change are the same."""
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    codes: list[int] = []

    def look() -> None:
        for command in ("list", "plan", "status"):
            codes.append(site.onebackup(command, "--json").code)
        codes.append(site.onebackup("recover", "--dry-run").code)

    for call in (SAVE, RESUME, "one.marketapp.delete"):
        proxy.at(call, look)
    checks.good(site.onebackup("backup", vm_id, "--force"))
    assert set(codes) == {0} and len(codes) == 12
    assert len(good_points(site, vm_id)) == 1 and site.vm_state(vm_id) == RUNNING
