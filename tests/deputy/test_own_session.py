# SPDX-License-Identifier: Apache-2.0
"""A restore that a tenant asks for, with the tenant's own session; and what only an admin may bring back."""

from __future__ import annotations

import json

import pytest

from onebackup_driver import restore_template
from onebackup_driver.xml_values import Attribute
from tests.deputy.conftest import Victim
from tests.deputy.tenants import Tenant
from tests.e2e import checks, machines
from tests.e2e.site import Site

RESTRICTED = (
    'RAW=[TYPE="kvm",DATA="<x/>"]\nTOPOLOGY=[SOCKETS="1",PIN_POLICY="CORE"]\nEMULATOR="/usr/bin/other"\n'
    'CONTEXT=[FILES="/etc/hosts",SSH_KEY="ssh-rsa A"]\nUSER_PRIORITY="100"\nCPU_MODEL=[MODEL="host"]'
)
PATHS = ("TEMPLATE/RAW/DATA", "TEMPLATE/TOPOLOGY/PIN_POLICY", "TEMPLATE/EMULATOR", "TEMPLATE/CONTEXT/FILES",
         "USER_TEMPLATE/USER_PRIORITY")  # fmt: skip


@pytest.mark.both_versions
def test_what_only_an_admin_may_set_comes_back_only_for_an_admin(site: Site, attacker: Tenant) -> None:
    """The admin had given it to this VM: an admin's restore brings all of it back, the tenant's own all the rest."""
    vm_id = attacker.machine(more=RESTRICTED)
    checks.backed_up(site, vm_id)

    by_admin = site.info("vm", checks.restored(site.onebackup("restore", vm_id, "-d", "default")))
    done = attacker.onebackup("restore", vm_id, "-d", "default")
    by_tenant = site.info("vm", checks.restored(done))

    before = site.info("vm", vm_id)
    assert [by_admin.findtext(path) for path in PATHS] == [before.findtext(path) for path in PATHS]
    assert None not in [by_admin.findtext(path) for path in PATHS]
    assert [by_tenant.findtext(path) for path in PATHS] == [None] * len(PATHS)
    for path in ("TEMPLATE/CONTEXT/SSH_KEY", "TEMPLATE/CPU_MODEL/MODEL", "TEMPLATE/TOPOLOGY/SOCKETS", "UID"):
        assert by_tenant.findtext(path) == before.findtext(path) == by_admin.findtext(path), path
    for name in ("RAW", "EMULATOR", "PIN_POLICY", "FILES"):
        assert f"{name} does not come back: only an admin may set it" in done.out, name


def test_a_tenants_restore_has_no_more_rights_than_the_tenant(site: Site, victim: Victim, attacker: Tenant) -> None:
    """By default every user may use every app: what is in one can be had with onemarketapp export too. But nothing
    that belongs to the victim does, and nothing is given to the victim."""
    secret = machines.image(site, machines.Disk(kind="CDROM"))
    victim.tenant.own("image", secret)
    vm_id = victim.tenant.machine(more=f'DISK=[IMAGE_ID="{secret}"]')
    apps = checks.backed_up(site, vm_id)
    refused = attacker.onebackup("restore", vm_id, "-d", "default", "--logger", "/dev/null")
    assert refused.code == 3 and f"VM [{vm_id}]" in refused.error_line, refused
    done = attacker.onebackup("restore", "--app", apps[-1], "-d", "default", "--no-start")
    new = site.info("vm", checks.restored(done))
    assert new.findtext("UID") == str(attacker.uid)
    assert str(secret) not in [item.text for item in new.findall("TEMPLATE/DISK/IMAGE_ID")]
    assert f"CD-ROM image {secret} cannot be used" in done.out


def test_a_tenants_restore_counts_on_the_tenants_quota(site: Site, attacker: Tenant) -> None:
    vm_id = attacker.machine()
    checks.backed_up(site, vm_id)
    before = site.everything()
    site.call("one.user.quota", attacker.uid, 'DATASTORE=[ID="1",IMAGES="1",SIZE="-1"]')
    refused = attacker.onebackup("restore", vm_id, "-d", "default", "--logger", "/dev/null")
    assert refused.code == 1 and "quota" in refused.error_line, refused
    checks.as_expected(site, before)
    site.call("one.user.quota", attacker.uid, 'DATASTORE=[ID="1",IMAGES="-1",SIZE="-1"]\nVM=[VMS="1"]')
    refused = attacker.onebackup("restore", vm_id, "-d", "default", "--logger", "/dev/null")
    assert refused.code == 1 and "quota" in refused.error_line, refused
    checks.as_expected(site, before)


def test_a_datastore_that_the_tenant_may_not_use(site: Site, attacker: Tenant) -> None:
    """oned says so (the emulator lets everybody use every datastore, so the refusal is put in)."""
    vm_id = attacker.machine()
    checks.backed_up(site, vm_id)
    before = site.everything()
    text = f"User [{attacker.uid}] : Not authorized to perform USE DATASTORE [1]."
    site.front_end.control("fail", method="one.image.allocate", code=512, message=text)
    refused = attacker.onebackup("restore", vm_id, "-d", "default", "--logger", "/dev/null")
    assert refused.code == 1 and "USE DATASTORE [1]" in refused.error_line
    checks.as_expected(site, before)
    for datastore in ("0", "1;2"):
        assert attacker.onebackup("restore", vm_id, "-d", datastore, "--logger", "/dev/null").code in (2, 3)
    checks.as_expected(site, before)


@pytest.mark.parametrize("command", ["backup", "run", "recover", "list"])
def test_a_tenant_cannot_do_an_admins_work(site: Site, victim: Victim, attacker: Tenant, command: str) -> None:
    arguments = {"backup": (victim.vm_id, "--force"), "recover": ("--all-nodes",)}.get(command, ())
    done = attacker.onebackup(command, *arguments)
    if command == "backup":
        assert done.code == 3 and f"VM [{victim.vm_id}]" in done.error_line
    assert set(site.apps()) == set(victim.app_ids)


def test_a_vm_given_back_is_never_given_to_somebody_else(site: Site, victim: Victim, attacker: Tenant) -> None:
    """A tenant's restore of the victim's VM stays the tenant's; an admin's goes to the owner in the record only."""
    new = checks.restored(site.onebackup("restore", victim.vm_id, "-d", "default"))
    assert site.info("vm", new).findtext("UID") == str(victim.tenant.uid)
    done = attacker.onebackup("restore", "--app", victim.app_ids[-1], "-d", "default")
    assert site.info("vm", checks.restored(done)).findtext("UID") == str(attacker.uid)
    assert json.loads(checks.good(site.onebackup("list", "--json")).out) != []


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("RAW", [("NIC", {"MAC": "1", "IP": "2"}), ("CONTEXT", {"MAC": "3"}), ("CPU", "1")]),
        ("NIC/MAC", [("NIC", {"IP": "2"}), ("CONTEXT", {"MAC": "3"}), ("RAW", "r"), ("CPU", "1")]),
        ("MAC", [("NIC", {"IP": "2"}), ("CONTEXT", {}), ("RAW", "r"), ("CPU", "1")]),
        ("NOT_THERE", [("NIC", {"MAC": "1", "IP": "2"}), ("CONTEXT", {"MAC": "3"}), ("RAW", "r"), ("CPU", "1")]),
    ],
)
def test_what_oned_refuses_is_taken_out_by_the_name_it_says(name: str, left: list[Attribute]) -> None:
    whole: list[Attribute] = [("NIC", {"MAC": "1", "IP": "2"}), ("CONTEXT", {"MAC": "3"}), ("RAW", "r"), ("CPU", "1")]
    assert restore_template.without(whole, name) == left
