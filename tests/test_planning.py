# SPDX-License-Identifier: Apache-2.0
"""What would be done, in words, and everything a backup is refused for; nothing but reading calls is made."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lxml import etree

from onebackup_driver import errors, frontend, paths, planning
from onebackup_driver.context import Context
from onebackup_driver.planning import Plan, Request
from onebackup_driver.site_rules import Configuration
from tests import http_server, objects

VERSION_IDS = [("6.4", 8), ("7.4", 4)]
FORCED = Request(force=True)


@contextmanager
def planned(*known: etree._Element, site: Configuration | None = None) -> Iterator[tuple[Context, http_server.Server]]:
    """A context whose front-end knows these objects."""
    with http_server.running(http_server.front_end(*known)) as server:
        front_end = frontend.FrontEnd(server.url, "oneadmin:x", 5, 0)
        where = paths.with_state(paths.find(), str(Path("/nonexistent")))
        yield Context(front_end, site or Configuration(), where, logging.getLogger("test")), server


def make(
    machine: etree._Element,
    request: Request = FORCED,
    market: etree._Element | None = None,
    site: Configuration | None = None,
) -> Plan:
    market = objects.load("7.4", "market-http") if market is None else market
    with planned(machine, market, site=site) as (context, server):
        plan = planning.make(context, int(machine.findtext("ID", "")), request)
    assert set(server.methods) <= {"one.vm.info", "one.market.info", "one.system.version"}
    return plan


def running(version: str = "7.4", **changes: str) -> etree._Element:
    return objects.changed(objects.load(version, "vm-running"), **changes)


@pytest.mark.parametrize("version, vm_id", VERSION_IDS)
def test_the_plan_of_a_recorded_vm(version: str, vm_id: int) -> None:
    plan = make(running(version), Request(), objects.load(version, "market-http"))
    assert plan.machine.vm_id == vm_id and [disk.disk_id for disk in plan.disks] == [0, 1]
    assert set(plan.not_saved) == {2} and plan.not_saved[2].startswith("volatile")
    assert [mode.name for mode in plan.modes] == ["POWEROFF"]
    assert (plan.due.due, plan.marketplace.driver, plan.version) == (True, "http", "7.4.0")
    assert planning.goes_on(plan)


@pytest.mark.parametrize("version, vm_id", VERSION_IDS)
def test_the_words_of_a_recorded_vm(version: str, vm_id: int) -> None:
    plan = make(running(version), Request(), objects.load(version, "market-http"))
    lines = planning.in_words(plan)
    market = plan.marketplace
    assert lines[0] == f"VM {vm_id} ({plan.machine.name}) is RUNNING; due: it was never backed up"
    assert "power" in lines[1] and lines[1].endswith("save 2 disk(s): 0, 1")
    assert lines[2].startswith("would not save disk 2: volatile")
    assert lines[3] == f"would import them into marketplace {market.marketplace_id} ({market.name})"
    assert lines[4] == "would then delete the restore point this one replaces" and len(lines) == 5


@pytest.mark.parametrize("request_", [Request(force=True, keep_backup=True), Request(oneshot=True, marketplace_id=104)])
def test_the_words_when_nothing_older_goes(request_: Request) -> None:
    assert planning.in_words(make(running(), request_))[-1] == "would delete no older restore point"


def test_the_words_of_each_mode() -> None:
    suspended = planning.in_words(make(running(), Request(modes="SUSPEND")))
    assert "suspend" in suspended[1]
    passed_over = planning.in_words(make(running(), Request(modes="LIVE,POWEROFF")))
    assert passed_over[1].startswith("  LIVE is not possible: its host's driver is dummy")
    at_rest = planning.in_words(make(objects.load("7.4", "vm-poweroff")))
    assert "as it is (POWEROFF)" in at_rest[1]


def test_not_due_is_a_plan_that_does_not_go_on() -> None:
    future = "2147483000"
    not_due = running(USER_TEMPLATE__BACKUP__LAST_BACKUP_TIME="1", USER_TEMPLATE__BACKUP__FREQUENCY_SECONDS=future)
    plan = make(not_due, Request())
    assert not planning.goes_on(plan) and plan.due.at == 2147483001 and plan.modes == ()
    forced = make(not_due, FORCED)
    assert planning.goes_on(forced) and "not due" in planning.in_words(forced)[0]


def test_excluded_disks_are_named() -> None:
    plan = make(running(USER_TEMPLATE__BACKUP__EXCLUDE_DISKS="0,2,9"))
    assert [disk.disk_id for disk in plan.disks] == [1]
    assert plan.not_saved == dict.fromkeys((0, 2), "excluded by BACKUP/EXCLUDE_DISKS")


def without_images(version: str) -> etree._Element:
    element = running(version)
    template = element.find("TEMPLATE")
    assert template is not None
    for disk in template.findall("DISK")[:2]:
        template.remove(disk)
    return element


@pytest.mark.parametrize("version", objects.VERSIONS)
@pytest.mark.parametrize(
    "machine, words",
    [
        ("vm-done", r"VM \d is DONE: it has no disks any more"),
        ("vm-pending", r"VM \d is PENDING; it can be backed up when RUNNING"),
        ("vm-locked", r"VM \d is locked .* unlock it with: onevm unlock \d"),
        ("no image", r"VM \d has no disk that can be saved"),
        ("all excluded", r"VM \d has no disk that can be saved"),
    ],
)
def test_vms_that_are_refused(version: str, machine: str, words: str) -> None:
    element = {
        "no image": lambda: without_images(version),
        "all excluded": lambda: running(version, USER_TEMPLATE__BACKUP__EXCLUDE_DISKS="0,1"),
    }.get(machine, lambda: objects.load(version, machine))()
    with pytest.raises(errors.Refused, match=words) as caught:
        make(element, FORCED, objects.load(version, "market-http"))
    assert len(str(caught.value).splitlines()) == 1


def test_what_does_not_exist_is_refused() -> None:
    with planned(running()) as (context, _):
        with pytest.raises(errors.Refused, match="there is no VM 99 on this front-end"):
            planning.make(context, 99, FORCED)
        with pytest.raises(errors.Refused, match="there is no marketplace 104 on this front-end"):
            planning.make(context, 4, FORCED)


def test_the_site_decides_on_the_marketplace() -> None:
    """B14: the VM's owner may write any marketplace into BACKUP."""
    with pytest.raises(errors.Refused, match="marketplace 104 .* is not in allowed_marketplaces"):
        make(running(), FORCED, site=Configuration(allowed_marketplaces=[7]))
    with pytest.raises(errors.Refused, match="is disabled"):
        make(running(), FORCED, objects.changed(objects.load("7.4", "market-http"), STATE="1"))
