# SPDX-License-Identifier: Apache-2.0
"""The restore points of terminated VMs, by the site's rule."""

from __future__ import annotations

import time

import pytest

from onebackup_driver import clock, site_rules, terminated
from onebackup_driver.cli import options
from onebackup_driver.context import Context
from tests.e2e import checks, machines
from tests.e2e.conftest import proxy, site
from tests.e2e.site import Site

__all__ = ["proxy", "site"]


@pytest.fixture
def context(site: Site, monkeypatch: pytest.MonkeyPatch) -> Context:
    for key, value in site.environment.items():
        monkeypatch.setenv(key, value)
    return options.context(verbose=False)


def gone(site: Site, keep: bool = False) -> tuple[int, list[int]]:
    """A VM with a restore point of two disks, terminated."""
    vm_id = machines.machine(site, disks=machines.TWO_DISKS, state=machines.POWEROFF)
    apps = checks.backed_up(site, vm_id)
    machines.bring_to(site, vm_id, machines.DONE)
    return vm_id, apps


def with_rule(site: Site, rule: str) -> Context:
    site.configure(terminated_vms=rule)
    return options.context(verbose=False)


@pytest.mark.parametrize(
    "text, days",
    [("keep", float("inf")), ("delete", 0), ("keep 1 day", 1), ("keep 30 days", 30), ("keep  7  days", 7)],
)
def test_rules(text: str, days: float) -> None:
    assert site_rules.terminated_rule(text) == days


@pytest.mark.parametrize("text", ["", "keep 0 days", "keep -1 days", "keep x days", "keep 3", "burn", "keep 3 years"])
def test_what_is_no_rule(text: str) -> None:
    assert site_rules.terminated_rule(text) is None


def test_nothing_goes_by_default(site: Site, context: Context) -> None:
    vm_id, apps = gone(site)
    assert terminated.sweep(context, set()) == []
    assert terminated.remove(context, vm_id) == f"VM {vm_id}: its restore points are kept"
    assert site.apps() == sorted(apps)


@pytest.mark.both_versions
def test_days_are_counted_from_the_end_of_the_vm(
    site: Site, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm_id, apps = gone(site)
    context = with_rule(site, "keep 2 days")
    assert terminated.sweep(context, set()) == []
    monkeypatch.setattr(clock, "now", lambda: int(time.time()) + 2 * 86400 - 60)
    assert terminated.sweep(context, set()) == []
    assert site.apps() == sorted(apps)
    monkeypatch.setattr(clock, "now", lambda: int(time.time()) + 2 * 86400 + 60)
    assert terminated.sweep(context, {vm_id}) == [], "a VM that is alive need not be looked at"
    (swept,) = [item for item in terminated.sweep(context, set()) if item.vm_id == vm_id]
    assert swept.good
    assert (site.apps(), site.journals()) == ([], [])


def test_a_vm_that_is_not_done_loses_nothing(site: Site, context: Context) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF)
    apps = checks.backed_up(site, vm_id)
    context = with_rule(site, "delete")
    assert terminated.sweep(context, set()) == []
    assert terminated.remove(context, vm_id) == f"VM {vm_id}: its restore points are kept"
    assert site.apps() == sorted(apps)


def test_what_is_kept_on_purpose_stays(site: Site, context: Context) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF)
    oneshot = ("--oneshot", "--market", site.market)
    checks.good(site.onebackup("backup", vm_id, *oneshot))
    kept = site.apps()
    checks.backed_up(site, vm_id)
    machines.bring_to(site, vm_id, machines.DONE)
    terminated.remove(with_rule(site, "delete"), vm_id)
    assert site.apps() == kept


def test_a_deletion_that_was_refused_is_finished_by_recover(site: Site, context: Context) -> None:
    """The VM's app is gone, an image app is not: without the journal nobody would know whose it is."""
    vm_id, apps = gone(site)
    context = with_rule(site, "delete")
    site.front_end.control("fail", method="one.marketapp.delete", nth=2, code=2048, message="not now", times=1)
    (swept,) = [item for item in terminated.sweep(context, set()) if item.vm_id == vm_id]
    assert (swept.good, "not now" in swept.message) == (False, True)
    assert 0 < len(site.apps()) < len(apps)
    assert len(site.journals()) == 1
    assert site.onebackup("recover").code == 0
    assert (site.apps(), site.journals()) == ([], [])


def test_the_timer_sweeps(site: Site) -> None:
    vm_id, apps = gone(site)
    site.configure(terminated_vms="delete")
    ran = site.onebackup("run", "-v")
    assert ran.code == 0, ran
    assert f"VM {vm_id}: the VM was terminated: restore point {apps[-1]}" in ran.out
    assert site.apps() == []
