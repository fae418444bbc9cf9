# SPDX-License-Identifier: Apache-2.0
"""Somebody works on marketplaces, apps and BACKUP while they are written to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sandbox.process import Refused
from tests.e2e import checks, machines
from tests.e2e.machines import RUNNING, TWO_DISKS
from tests.e2e.proxy import Proxy
from tests.e2e.site import Site, unique

ALLOCATE = "one.marketapp.allocate"


def untouched(site: Site, vm_id: int, first: list[int], marketplace: bool = True) -> None:
    """The run failed and is undone: the older restore point is there, the VM runs, the next backup works."""
    assert site.vm_state(vm_id) == RUNNING and not site.journals()
    assert site.user_template(vm_id, "ONEBACKUP/STATE") == "ERROR"
    if marketplace:
        assert site.apps() == first == site.recorded(vm_id)
    assert not [name for name in (item.findtext("NAME", "") for item in site.pool("image")) if " - BACKUP - " in name]


def new_apps(site: Site, first: list[int]) -> list[int]:
    return sorted(set(site.apps()) - set(first))


@pytest.mark.both_versions
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_the_marketplace_is_disabled_during_the_upload(site: Site, proxy: Proxy, nth: int) -> None:
    """oned takes apps for a disabled marketplace all the same: the backup is good."""
    vm_id = machines.machine(site, TWO_DISKS)
    checks.backed_up(site, vm_id)
    proxy.at(ALLOCATE, lambda: site.call("one.market.enable", site.market, False), nth=nth)
    ended = site.onebackup("backup", vm_id, "--force")
    site.call("one.market.enable", site.market, True)
    assert (ended.code, site.vm_state(vm_id)) == (0, RUNNING), ended
    assert site.recorded(vm_id) == site.apps() and not site.journals()
    checks.good(site.onebackup("backup", vm_id, "--force"))


@pytest.mark.both_versions
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_the_marketplace_is_deleted_during_the_upload(site: Site, proxy: Proxy, nth: int, when: str) -> None:
    """6.4 takes the apps with it, 7.4 refuses while there are some: then everything is deleted by hand first."""
    vm_id = machines.machine(site, TWO_DISKS)
    market = site.make_market(NAME=unique("doomed"))
    machines.backup_section(site, vm_id, f'FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{market}"')

    def delete() -> None:
        for app in site.pool("marketapp"):
            if app.findtext("MARKETPLACE_ID") == str(market):
                site.call("one.marketapp.delete", int(app.findtext("ID", "")))
        site.call("one.market.delete", market)

    proxy.at(ALLOCATE, delete, nth=nth, when=when)
    ended = site.onebackup("backup", vm_id)
    last = ended.err.splitlines()[-1]
    assert ended.code in (1, 4) and ("app" in last or "marketplace" in last), ended
    if ended.code == 4:
        assert site.onebackup("recover").code == 0
    untouched(site, vm_id, [], marketplace=False)
    assert site.apps() == []
    machines.backup_section(site, vm_id, f'FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{site.market}"')
    checks.good(site.onebackup("backup", vm_id, "--force"))


@pytest.mark.both_versions
@pytest.mark.parametrize(("nth", "slow"), [(1, True), (2, True), (2, False), (3, False)])
def test_a_new_app_is_deleted_by_a_user_before_the_restore_point_is_complete(
    site: Site, proxy: Proxy, nth: int, slow: bool
) -> None:
    """While it is LOCKED, or READY already."""
    vm_id = machines.machine(site, TWO_DISKS)
    first = checks.backed_up(site, vm_id)
    if slow:
        site.front_end.control("slow", what="import", seconds=0.6)

    def delete() -> None:
        site.call("one.marketapp.delete", new_apps(site, first)[0])

    proxy.at(ALLOCATE, delete, nth=nth, when="after")
    ended = site.onebackup("backup", vm_id, "--force")
    site.front_end.control("clear")
    last = ended.err.splitlines()[-1]
    assert ended.code in (1, 4) and ("app" in last or "does not show in the marketplace" in last), ended
    if ended.code == 4:
        assert site.onebackup("recover").code == 0
    untouched(site, vm_id, first)
    checks.good(site.onebackup("backup", vm_id, "--force"))


@pytest.mark.parametrize("locked", [False, True])
def test_older_apps_go_while_the_new_ones_come(site: Site, proxy: Proxy, locked: bool) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    first = checks.backed_up(site, vm_id)

    def deed() -> None:
        for app_id in first:
            site.call(*(("one.marketapp.lock", app_id, 1, False) if locked else ("one.marketapp.delete", app_id)))

    proxy.at(ALLOCATE, deed)
    ended = site.onebackup("backup", vm_id, "--force")
    assert ended.code == 0, ended
    assert set(site.apps()) == {*site.recorded(vm_id), *(first if locked else [])}
    for app_id in first if locked else []:
        site.call("one.marketapp.unlock", app_id)
    checks.good(site.onebackup("backup", vm_id, "--force"))
    assert site.apps() == site.recorded(vm_id)


# -- BACKUP


def _elsewhere(site: Site, vm_id: int) -> None:
    machines.backup_section(site, vm_id, f'FREQUENCY_SECONDS="7200",MARKETPLACE_ID="{site.make_market()}",MY="own"')


def _nonsense(site: Site, vm_id: int) -> None:
    machines.backup_section(site, vm_id, 'FREQUENCY_SECONDS="x",MY="own"')


def _gone(site: Site, vm_id: int) -> None:
    site.call("one.vm.update", vm_id, 'MY="own"', 0)


Deed = Callable[[Site, int], None]


@pytest.mark.parametrize("deed", [_elsewhere, _nonsense, _gone], ids=lambda deed: deed.__name__)
@pytest.mark.parametrize("call", ["one.vm.action poweroff", "one.vm.action resume", ALLOCATE, "one.marketapp.delete"])
def test_backup_is_changed_in_the_middle(site: Site, proxy: Proxy, deed: Deed, call: str) -> None:
    """The run goes on as it began; what the user wrote stays, but for what we record."""
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    proxy.at(call, lambda: deed(site, vm_id))
    ended = site.onebackup("backup", vm_id, "--force")
    assert (ended.code, site.vm_state(vm_id)) == (0, RUNNING), ended
    late = call == "one.marketapp.delete"  # BACKUP was written before: what the user wrote then is the last word
    if not late:
        assert site.recorded(vm_id) == site.apps()
        market = site.info("marketapp", site.apps()[-1]).findtext("MARKETPLACE_ID")
        assert market == str(site.market)
    if deed is not _gone:
        assert site.user_template(vm_id, "BACKUP/MY") == "own"
    else:
        assert site.user_template(vm_id, "MY") == "own"
    if deed is _elsewhere:
        assert site.user_template(vm_id, "BACKUP/FREQUENCY_SECONDS") == "7200"
        assert site.user_template(vm_id, "BACKUP/MARKETPLACE_ID") != str(site.market)
    assert len(checks.listed(site, vm_id)) == 1 and not site.journals()


def test_refused_by_7_4_a_marketplace_with_apps_stays(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    answers: list[str] = []

    def delete() -> None:
        try:
            site.call("one.market.delete", site.market)
        except Refused as error:
            answers.append(str(error))

    proxy.at(ALLOCATE, delete)
    checks.good(site.onebackup("backup", vm_id, "--force"))
    assert "is not empty" in answers[0]
