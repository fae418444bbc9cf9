# SPDX-License-Identifier: Apache-2.0
"""What doctor says of rules and permissions that let tenants read the backups of others: only when they do, and what it
tells the admin to type helps."""

from __future__ import annotations

import re

import pytest

from onebackup_driver.cli import options
from onebackup_driver.doctor import finding, tenants
from onebackup_driver.doctor.finding import Finding
from sandbox.core import acl
from sandbox.process import Refused
from tests.deputy import tenants as people
from tests.deputy.tenants import Tenant
from tests.e2e import checks, machines
from tests.e2e.conftest import own_site
from tests.e2e.site import Site, unique

__all__ = ["own_site"]


def look(site: Site, monkeypatch: pytest.MonkeyPatch) -> Finding:
    with monkeypatch.context() as patch:
        for key, value in site.environment.items():
            patch.setenv(key, value)
        (found,) = tenants.exposure(options.context(verbose=False))
        return found


def typed(site: Site, found: Finding) -> None:
    """Do what the admin is told to type."""
    for command in found.fix.split(" (docs/")[0].split("; "):
        words = re.findall(r"'([^']*)'|(\S+)", command)
        tool, action, *rest = (quoted or plain for quoted, plain in words)
        if (tool, action) == ("oneacl", "create"):
            rule = _rule(rest[0])
            site.call(
                "one.acl.addrule", *(f"{number:x}" for number in (rule.user, rule.resource, rule.rights, rule.zone))
            )
        elif (tool, action) == ("oneacl", "delete"):
            site.call("one.acl.delrule", int(rest[0]))
        elif "to oned.conf" in command:
            site.front_end.control("restrict", attribute=command.split('"')[1])
        elif action == "chmod":
            bits = [int(digit) >> shift & 1 for digit in rest[1] for shift in (2, 1, 0)]
            for number in rest[0].split(","):
                site.call(f"{tool.replace('one', 'one.', 1)}.chmod", int(number), *bits)
        else:
            numbers = re.search(r"\(([0-9, ]+)\) in allowed_marketplaces", command)
            assert numbers, command
            site.configure(allowed_marketplaces=[int(number) for number in numbers[1].split(",")])


def _rule(text: str) -> acl.Rule:
    """As `oneacl create` reads it."""
    signs = {"#": acl.INDIVIDUAL, "@": acl.GROUP}

    def selected(part: str) -> int:
        return acl.ALL if part == "*" else signs[part[0]] | int(part[1:])

    who, resource, rights, zone = [*text.split(), "#0"][:4]
    types, _, selector = resource.partition("/")
    number = sum(acl.RIGHTS[right] for right in rights.split("+"))
    return acl.rule(selected(who), types, selected(selector), number, selected(zone))


def may(tenant: Tenant, kind: str, number: int) -> bool:
    try:
        tenant.call(f"one.{kind}.info", number)
        return True
    except Refused:
        return False


def test_nothing_is_said_where_nobody_is_exposed(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default rule is there; but no user who is no admin, then no restore point of another."""
    vm_id = machines.machine(own_site)
    checks.backed_up(own_site, vm_id)
    assert look(own_site, monkeypatch) == finding.ok("tenants", "there are no users but admins")
    for app in own_site.apps():
        own_site.call("one.marketapp.delete", app)
    people.new(own_site, "tenant")
    assert look(own_site, monkeypatch).state == finding.OK


def test_the_default_rule_and_how_it_is_put_right(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, attacker = people.new(own_site, "victim"), people.new(own_site, "attacker")
    vm_id = victim.machine()
    apps = checks.backed_up(own_site, vm_id)
    assert may(attacker, "marketapp", apps[0]), "OpenNebula's default"
    found = look(own_site, monkeypatch)
    assert found.state == finding.PROBLEM
    assert found.text.startswith(
        "rule 2 (* MARKETPLACE+MARKETPLACEAPP/* USE *) lets 2 user(s) export restore points (2 app(s)); "
    )
    assert found.fix.startswith("oneacl create '* MARKETPLACE/* USE *'; oneacl delete 2; ")
    typed(own_site, found)
    assert look(own_site, monkeypatch).state == finding.OK
    assert not may(attacker, "marketapp", apps[0]) and may(attacker, "market", 0)
    checks.backed_up(own_site, vm_id, "--force")


@pytest.mark.both_versions
def test_a_disk_of_a_restore_point_by_its_id(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """oned asks for no right to the app of which an image is made: neither rules nor permissions keep anybody off."""
    victim, attacker = people.new(own_site, "victim"), people.new(own_site, "attacker")
    own_site.call("one.acl.delrule", 2)
    own_site.configure(allowed_marketplaces=[own_site.market])
    disk, whole = checks.backed_up(own_site, victim.machine())
    assert not may(attacker, "marketapp", disk) and not may(attacker, "marketapp", whole)

    def take() -> int:
        return int(attacker.call("one.image.allocate", f'NAME="{unique("loot")}"\nFROM_APP="{disk}"', 1, True))

    assert own_site.info("image", take()).findtext("UID") == str(attacker.uid), "as OpenNebula does it"
    found = look(own_site, monkeypatch)
    assert found.state == finding.PROBLEM and "1 disk(s) of others' restore points" in found.text
    assert 'add IMAGE_RESTRICTED_ATTR = "FROM_APP" to oned.conf and restart oned' in found.fix
    typed(own_site, found)
    assert look(own_site, monkeypatch).state == finding.OK
    with pytest.raises(Refused, match="restricted attribute FROM_APP"):
        take()
    assert own_site.onebackup("restore", "--app", whole, "-d", "default", "--no-start").code == 0


def test_keys_of_a_bucket_that_everybody_can_read(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """one.market.info shows them to whoever may USE the marketplace: with them all backups can be deleted."""
    victim, attacker = people.new(own_site, "victim"), people.new(own_site, "attacker")
    vm_id = victim.machine()
    checks.backed_up(own_site, vm_id)
    text = 'MARKET_MAD="s3"\nBUCKET="b"\nACCESS_KEY_ID="a"\nSECRET_ACCESS_KEY="k"\nREGION="r"'
    vault = int(own_site.call("one.market.allocate", f'NAME="{unique("vault")}"\n{text}'))
    found = look(own_site, monkeypatch)
    assert f"read SECRET_ACCESS_KEY of marketplace {vault}" in found.text
    assert "oneacl create '* MARKETPLACE/#0 USE'" in found.fix and f"#{vault}" not in found.fix
    typed(own_site, found)
    assert look(own_site, monkeypatch).state == finding.OK
    assert (
        not may(attacker, "market", vault) and may(attacker, "market", 0) and may(attacker, "market", own_site.market)
    )
    own_site.call("one.market.chmod", vault, 1, 1, 0, 0, 0, 0, 1, 0, 0)
    found = look(own_site, monkeypatch)
    assert found.fix.startswith(f"onemarket chmod {vault} 600")
    typed(own_site, found)
    assert look(own_site, monkeypatch).state == finding.OK


def test_rules_with_more_in_them_and_permissions(own_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    attacker, other = people.new(own_site, "attacker"), people.new(own_site, "other")
    apps = checks.backed_up(own_site, machines.machine(own_site))
    own_site.call("one.acl.delrule", 2)
    for text in (f"@{attacker.gid} IMAGE+MARKETPLACEAPP/* USE+MANAGE *", f"#{other.uid} MARKETPLACEAPP/#{apps[0]} USE",
                 "@1 MARKETPLACEAPP/* USE", f"#{other.uid} MARKETPLACEAPP/#{apps[0]} MANAGE"):  # fmt: skip
        rule = _rule(text)
        own_site.call("one.acl.addrule", *(f"{number:x}" for number in vars(rule).values()))
    own_site.call("one.marketapp.chmod", apps[1], 1, 1, 0, 0, 0, 0, 1, 0, 0)
    found = look(own_site, monkeypatch)
    assert found.text.count("lets 1 user(s) export") == 2, "nobody is in group 1; to MANAGE is not to USE"
    assert f"oneacl create '@{attacker.gid} IMAGE/* USE+MANAGE *'" in found.fix
    assert f"permissions let others export app {apps[1]}" in found.text
    typed(own_site, found)
    assert look(own_site, monkeypatch).state == finding.OK
    assert not any(may(who, "marketapp", app) for who in (attacker, other) for app in apps)
