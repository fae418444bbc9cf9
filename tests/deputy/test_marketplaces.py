# SPDX-License-Identifier: Apache-2.0
"""Marketplaces that a tenant may not use: what MARKETPLACE_ID in BACKUP cannot reach."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from onebackup_driver import acl
from sandbox.process import FrontEnd
from tests.deputy import tenants
from tests.deputy.tenants import Tenant
from tests.e2e import checks, machines
from tests.e2e.conftest import own_site
from tests.e2e.site import Site

__all__ = ["own_site"]
_EVERYBODY, _ONE, _GROUP, _HERE = 1 << 34, 1 << 32, 1 << 33, "100000000"


def rule(front_end: FrontEnd, user: int, resource: int) -> int:
    return int(front_end.call("one.acl.addrule", f"{user:x}", f"{resource:x}", "1", _HERE))


@pytest.fixture
def closed(own_site: Site) -> Site:
    """A front-end whose admin has taken away the rule that opens all marketplaces and apps."""
    own_site.call("one.acl.delrule", 2)
    return own_site


def test_what_its_owner_may_not_use_gets_no_backup(closed: Site) -> None:
    """A tenant's own marketplace, which another tenant names: it would be filled by oneadmin's hand."""
    attacker, other = tenants.new(closed, "attacker"), tenants.new(closed, "other")
    closed.call("one.market.chown", closed.market, other.uid, other.gid)
    vm_id = attacker.machine()
    refused = closed.onebackup("backup", vm_id)
    assert refused.code == 3 and f"may not be used by the VM's owner, user {attacker.uid}" in refused.error_line
    assert f"oneacl create '#{attacker.uid} MARKETPLACE/#{closed.market} USE'" in refused.error_line
    assert closed.apps() == [] and closed.vm_state(vm_id) == machines.RUNNING
    ran = closed.onebackup("run")
    assert ran.code == 1 and "may not be used" in ran.out + ran.err
    checks.backed_up(closed, other.machine())


@pytest.mark.parametrize(
    "way", ["user", "group", "of the group's", "permission", "group's permission", "site", "admin"]
)
def test_each_way_to_the_right(closed: Site, way: str) -> None:
    tenant = tenants.new(closed, "tenant")
    vm_id, market, call = tenant.machine(), closed.market, closed.front_end.call
    options: tuple[object, ...] = ()
    if way == "user":
        rule(closed.front_end, _ONE | tenant.uid, acl.MARKETPLACE | _ONE | market)
    elif way == "group":
        rule(closed.front_end, _GROUP | tenant.gid, acl.MARKETPLACE | _EVERYBODY)
    elif way == "of the group's":
        rule(closed.front_end, _EVERYBODY, acl.MARKETPLACE | _GROUP)
    elif way == "permission":
        call("one.market.chmod", market, 1, 1, 0, 0, 0, 0, 1, 0, 0)
    elif way == "group's permission":
        call("one.market.chown", market, 0, tenant.gid)
        call("one.market.chmod", market, 1, 1, 0, 1, 0, 0, 0, 0, 0)
    elif way == "site":
        closed.configure(allowed_marketplaces=[market])
    else:
        options = ("--market", market)
    checks.backed_up(closed, vm_id, *options)


def test_rules_that_give_no_right(closed: Site) -> None:
    """Of apps, of another marketplace, for another user or group, in another zone."""
    tenant = tenants.new(closed, "tenant")
    vm_id, market = tenant.machine(), closed.market
    everybody: Callable[[int], int] = lambda resource: rule(closed.front_end, _EVERYBODY, resource)  # noqa: E731
    everybody(acl.APP | _EVERYBODY)
    everybody(acl.MARKETPLACE | _ONE | market + 1)
    everybody(acl.MARKETPLACE | _GROUP | tenant.gid)
    rule(closed.front_end, _ONE | tenant.uid + 1, acl.MARKETPLACE | _EVERYBODY)
    rule(closed.front_end, _GROUP | tenant.gid + 1, acl.MARKETPLACE | _EVERYBODY)
    closed.call("one.acl.addrule", f"{_EVERYBODY:x}", f"{acl.MARKETPLACE | _EVERYBODY:x}", "1", f"{_ONE | 7:x}")
    closed.call("one.acl.addrule", f"{_EVERYBODY:x}", f"{acl.MARKETPLACE | _EVERYBODY:x}", "a", _HERE)
    assert closed.onebackup("backup", vm_id).code == 3


def test_a_tenants_own_session_is_judged_by_oned(own_site: Site) -> None:
    """one.acl.info is not for everybody; nothing is given that oned would not give."""
    tenant: Tenant = tenants.new(own_site, "tenant")
    vm_id = tenant.machine()
    assert "MARKETPLACEAPP" in tenant.onebackup("backup", vm_id).error_line
