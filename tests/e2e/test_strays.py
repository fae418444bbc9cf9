# SPDX-License-Identifier: Apache-2.0
"""A front-end dies in the middle of a backup; another one, without its journals, puts things right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.machines import POWEROFF, RUNNING, machine
from tests.e2e.proxy import Proxy, cut
from tests.e2e.site import Result, Site, unique, wait

SAVED, PUBLISHED = "one.vm.disksaveas", "one.marketapp.allocate"


def die_at(site: Site, proxy: Proxy, vm_id: int, call: str, nth: int, when: str, *options: str) -> None:
    """Back a VM up in a process that is killed at a call, before or after it is carried out."""

    def kill() -> None:
        run.process.kill()
        if when == "before":
            cut()

    run = site.begin("backup", vm_id, *options)
    proxy.at(call, kill, nth, when)
    run.process.communicate(timeout=60)
    assert proxy.deeds_done == 1


@pytest.fixture
def elsewhere(site: Site, tmp_path: Path) -> Path:
    """The place of the other front-end."""
    (tmp_path / "other" / "etc").mkdir(parents=True)
    return tmp_path / "other"


def recover(site: Site, elsewhere: Path, *options: str) -> Result:
    return site.onebackup("recover", *options, ONE_LOCATION=str(elsewhere))


@pytest.mark.parametrize(
    "state, call, nth, when",
    [
        (RUNNING, SAVED, 1, "after"),
        (POWEROFF, SAVED, 1, "after"),
        (RUNNING, PUBLISHED, 1, "before"),
        (RUNNING, PUBLISHED, 2, "before"),
    ],
)
def test_an_unfinished_run_is_undone(
    site: Site, proxy: Proxy, elsewhere: Path, state: tuple[int, int], call: str, nth: int, when: str
) -> None:
    vm_id = machine(site, state=state)
    before = site.everything()
    die_at(site, proxy, vm_id, call, nth, when)
    wait("the front-end to finish what was asked", lambda: site.vm_state(vm_id) in (RUNNING, POWEROFF))
    left = {**site.everything(), "journals": set()}
    assert left != {**before, "journals": set()}
    young = recover(site, elsewhere)
    assert (young.code, young.out) == (0, "nothing to recover\n")
    told = recover(site, elsewhere, "--all-nodes", "--dry-run")
    assert f"VM {vm_id}: run " in told.out and "would be finished or undone" in told.out
    assert {**site.everything(), "journals": set()} == left
    result = recover(site, elsewhere, "--all-nodes")
    assert result.code == 0, result.out
    assert f"VM {vm_id}: undid the backup of a process that died" in result.out
    assert {**site.everything(), "journals": set()} == {**before, "journals": set()}
    assert site.vm_state(vm_id) == state
    assert site.user_template(vm_id, "ONEBACKUP/STATE") == "ERROR"
    assert not list((elsewhere / "var" / "onebackup" / "journal").glob("*"))
    assert recover(site, elsewhere, "--all-nodes").out == "nothing to recover\n"


@pytest.mark.both_versions
def test_a_complete_restore_point_is_recorded(site: Site, proxy: Proxy, elsewhere: Path) -> None:
    vm_id = machine(site)
    assert site.onebackup("backup", vm_id).code == 0
    older = site.recorded(vm_id)
    die_at(site, proxy, vm_id, PUBLISHED, 2, "after", "--force", "--keep-backup")
    assert site.recorded(vm_id) == older
    result = recover(site, elsewhere, "--all-nodes")
    assert result.code == 0 and "of a run that died was complete, recorded" in result.out
    assert site.user_template(vm_id, "ONEBACKUP/STATE") == "OK"
    newer = site.recorded(vm_id)
    assert newer != older and set(site.apps()) == {*older, *newer}, "--keep-backup is known from the restore point"
    assert site.info("marketapp", older[-1]).findtext("TEMPLATE/ONEBACKUP/KEEP") == "YES"


def test_a_vm_that_only_says_so_is_corrected(site: Site, elsewhere: Path) -> None:
    vm_id = machine(site)
    site.call("one.vm.update", vm_id, 'ONEBACKUP=[STATE="RUNNING",RUN="0123",TIME="1600000000"]', 1)
    result = recover(site, elsewhere)
    assert result.code == 0 and f"VM {vm_id}: ONEBACKUP said that a backup runs, but none does" in result.out
    assert site.user_template(vm_id, "ONEBACKUP/STATE") == "ERROR"


def test_what_somebody_exported_by_hand_is_not_taken_for_ours(site: Site, proxy: Proxy, elsewhere: Path) -> None:
    vm_id = machine(site)
    assert site.onebackup("backup", vm_id).code == 0
    name = site.info("marketapp", site.recorded(vm_id)[0]).findtext("NAME", "")
    exported = int(site.call("one.image.allocate", f'NAME="{name}"\nFROM_APP="{site.recorded(vm_id)[0]}"', 1))
    of_a_user = int(site.call("one.template.allocate", f'NAME="{name.rsplit("-disk-", 1)[0]}"\nCPU="1"'))
    assert recover(site, elsewhere, "--all-nodes").out == "nothing to recover\n"
    assert exported in site.ids("image") and of_a_user in site.ids("template")


def test_a_damaged_restore_point_is_nobodys_leftover(site: Site, elsewhere: Path) -> None:
    vm_id = machine(site)
    assert site.onebackup("backup", vm_id).code == 0
    image_app, vm_app = site.recorded(vm_id)
    site.call("one.marketapp.delete", vm_app)
    assert recover(site, elsewhere, "--all-nodes").out == "nothing to recover\n"
    assert site.apps() == [image_app]


def test_a_live_run_of_this_front_end_is_left_alone(site: Site) -> None:
    vm_id = machine(site, name=unique("live"))
    site.front_end.control("slow", what="saveas", seconds=1)
    run = site.begin("backup", vm_id)
    wait("the saving", lambda: site.vm_state(vm_id) == (3, 27))
    assert recover(site, site.location, "--all-nodes").code == 0
    assert run.end().code == 0
    assert site.user_template(vm_id, "ONEBACKUP/STATE") == "OK"
