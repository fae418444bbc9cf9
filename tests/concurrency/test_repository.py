# SPDX-License-Identifier: Apache-2.0
"""Backup, restore, verify and gc at work in one repository of ours at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import checks, machines
from tests.e2e.depot import Depot
from tests.e2e.site import Result, Site

DISKS = (machines.Disk(6, "qcow2", kind="OS", random=True), machines.Disk(3, "raw", persistent=True, random=True))


@pytest.fixture
def depot(site: Site, tmp_path: Path) -> Iterator[Depot]:
    made = Depot(site, f"dir:{tmp_path / 'repository'}")
    yield made
    made.stop_gateway()


def restored(site: Site, vm_id: int, *, good: bool = True) -> Result:
    result = site.onebackup("restore", vm_id, "-d", "default", "--no-start")
    assert not good or result.code == 0, result
    return result


def test_all_verbs_at_once(site: Site, depot: Depot) -> None:
    """Nobody waits for anybody, nobody fails, and every byte is there afterwards."""
    backup = f'FREQUENCY_SECONDS="86400", MARKETPLACE_ID="{depot.market}"'
    first, second = (machines.machine(site, DISKS, backup=backup) for _ in range(2))
    contents = {vm_id: machines.contents(machines.vm_disks(site, vm_id)) for vm_id in (first, second)}
    for vm_id in (first, second):
        checks.backed_up(site, vm_id)
    runs = [site.begin("backup", first, "--force"), site.begin("restore", second, "-d", "default", "--no-start")]
    runs += [site.begin("repository", verb, depot.place) for verb in ("gc", "verify", "gc")]
    for run in runs:
        ended = run.end(120)
        assert ended.code == 0, ended
    machines.make_due(site, second)
    runs = [site.begin("run"), *(site.begin("repository", verb, depot.place) for verb in ("gc", "verify"))]
    assert [run.end(120).code for run in runs] == [0, 0, 0]
    checks.good(depot.command("verify"))
    for vm_id in (first, second):
        made = checks.restored(restored(site, vm_id))
        assert machines.contents(checks.image_disks(site, made)) == contents[vm_id]
        assert len(checks.listed(site, vm_id)) == 1 and site.vm_state(vm_id) == machines.RUNNING


def test_a_restore_point_that_is_deleted_while_it_is_verified_and_restored(site: Site, depot: Depot) -> None:
    """verify says nothing of what went; the restore is good or leaves nothing."""
    backup = f'FREQUENCY_SECONDS="86400", MARKETPLACE_ID="{depot.market}"'
    vm_id = machines.machine(site, DISKS, backup=backup)
    apps = checks.backed_up(site, vm_id)
    before = site.everything()
    verify = site.begin("repository", "verify", depot.place)
    restore = site.begin("restore", vm_id, "-d", "default", "--no-start")
    for app_id in reversed(apps):
        site.call("one.marketapp.delete", app_id)
    verified, back = verify.end(120), restore.end(120)
    assert verified.code == 0, verified
    assert back.code in (0, 1, 3), back
    if back.code:
        after = site.everything()
        for kind in ("template", "image", "vm", "journals"):
            assert after[kind] == before[kind], kind
    checks.good(site.onebackup("backup", vm_id, "--force"))
    checks.good(depot.command("verify"))
