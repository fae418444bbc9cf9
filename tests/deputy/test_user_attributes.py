# SPDX-License-Identifier: Apache-2.0
"""What a tenant can write on a VM (USER_TEMPLATE, BACKUP, ONEBACKUP) is data: it neither names objects to delete or to
read, nor becomes a part of the restored machine."""

from __future__ import annotations

import time

import pytest

from tests.deputy.conftest import Victim
from tests.deputy.tenants import Tenant
from tests.e2e import checks, machines
from tests.e2e.site import Site, unique


def network(site: Site) -> int:
    text = f'NAME="{unique("net")}"\nVN_MAD="dummy"\nBRIDGE="br0"\nAR=[TYPE="IP4",IP="10.77.0.10",SIZE="20"]'
    return int(site.call("one.vn.allocate", text, -1))


def restored(site: Site, vm_id: int, *options: str) -> int:
    return checks.restored(site.onebackup("restore", vm_id, "-d", "default", *options))


@pytest.mark.both_versions
@pytest.mark.parametrize("gone", [True, False])
def test_what_is_only_written_on_a_vm_is_no_part_of_the_restored_machine(
    site: Site, victim: Victim, attacker: Tenant, gone: bool
) -> None:
    """one.vm.update takes any attribute but restricted ones; in the template of a restore, made by oneadmin, a DISK
    would be the victim's image, handed over to the attacker."""
    secret, net = victim.tenant.image(), network(site)
    vm_id = attacker.machine()
    attacker.update(
        vm_id,
        f'DISK=[IMAGE_ID="{secret}"]\nNIC=[NETWORK_ID="{net}"]\nMEMORY="99999"\nCPU_MODEL=[MODEL="host"]\n'
        f'OS=[KERNEL_DS="$FILE[IMAGE_ID={secret}]"]\nVMGROUP=[VMGROUP_ID="0",ROLE="r"]\nNOTE="kept"\nSCHED_RANK="1"',
    )
    checks.backed_up(site, vm_id)
    if gone:
        attacker.call("one.vm.action", "terminate-hard", vm_id)

    new = site.info("vm", restored(site, vm_id))

    assert len(new.findall("TEMPLATE/DISK")) == 1
    assert [item.text for item in new.findall("TEMPLATE/DISK/IMAGE_ID")] != [str(secret)]
    assert new.find("TEMPLATE/NIC") is None and new.find("TEMPLATE/VMGROUP") is None
    assert new.findtext("TEMPLATE/MEMORY") == "64"
    assert "KERNEL_DS" not in [child.tag for child in new.findall("TEMPLATE/OS/*")]
    assert (new.findtext("USER_TEMPLATE/NOTE"), new.findtext("USER_TEMPLATE/SCHED_RANK")) == ("kept", "1")
    assert new.findtext("USER_TEMPLATE/DISK/IMAGE_ID") == str(secret), "what was written stays what it was: a note"
    assert site.info("image", secret).findtext("VMS/ID") is None
    assert new.findtext("UID") == str(attacker.uid)
    for template in site.pool("template").findall("VMTEMPLATE"):
        assert str(secret) not in [item.text for item in template.findall("TEMPLATE/DISK/IMAGE_ID")]


def test_the_stock_template_in_an_app_names_nothing_that_was_only_written_on_the_vm(
    site: Site, victim: Victim, attacker: Tenant
) -> None:
    """OpenNebula's own export makes a template of it, with the rights of whoever exports."""
    from onebackup_driver import manifest

    secret, vm_id = victim.tenant.image(), attacker.machine()
    attacker.update(vm_id, f'DISK=[IMAGE_ID="{secret}"]\nNIC=[NETWORK_ID="0"]\nNOTE="kept"')
    apps = checks.backed_up(site, vm_id)
    text = manifest.decode(site.info("marketapp", apps[-1]).findtext("APPTEMPLATE64", ""))
    assert "NOTE" in text and "DISK" not in text and "NETWORK_ID" not in text


@pytest.mark.parametrize("names", ["all", "images first", "template", "ids that are none"])
def test_ids_in_backup_delete_nothing(site: Site, victim: Victim, attacker: Tenant, names: str) -> None:
    ids = {"all": victim.app_ids, "images first": [victim.app_ids[0]], "template": [victim.app_ids[-1]],
           "ids that are none": [-1, 0, 2**31, 10**20]}[names]  # fmt: skip
    vm_id = attacker.machine()
    for _ in range(2):  # the second backup replaces the first
        attacker.update(
            vm_id,
            f'BACKUP=[FREQUENCY_SECONDS="300",MARKETPLACE_ID="{site.market}",LAST_BACKUP_TIME="1",'
            f'MARKETPLACE_APP_IDS="{",".join(map(str, ids))}"]',
        )
        apps = checks.backed_up(site, vm_id)
    assert set(site.apps()) == {*victim.app_ids, *apps}


def test_ids_in_backup_restore_nothing_and_no_one_is_told_to(site: Site, victim: Victim, attacker: Tenant) -> None:
    """The line must not send an admin to restore --app of somebody else's restore point."""
    vm_id = attacker.machine()
    for named in (victim.app_ids[-1], victim.app_ids[0], 999999):
        attacker.update(vm_id, f'BACKUP=[FREQUENCY_SECONDS="300",MARKETPLACE_APP_IDS="{named}"]')
        refused = site.onebackup("restore", vm_id, "-d", "default", "--logger", site.folder / "log")
        assert refused.code == 3 and f"no restore point of VM {vm_id}" in refused.error_line
        assert "--app" not in refused.error_line, refused


@pytest.mark.parametrize("frequency", ["1", "0", "-1", "-86400", "99999999999999999999", "1e-9", "0x1", ""])
def test_a_frequency_cannot_be_too_small_or_strange(site: Site, attacker: Tenant, frequency: str) -> None:
    vm_id = attacker.machine()
    checks.backed_up(site, vm_id)
    attacker.update(
        vm_id,
        f'BACKUP=[FREQUENCY_SECONDS="{frequency}",MARKETPLACE_ID="{site.market}",'
        f'LAST_BACKUP_TIME="{int(time.time()) - 200}"]',
    )
    done = site.onebackup("backup", vm_id)
    assert "not due" in done.out if frequency == "1" else done.code == 3, done


def test_a_floor_that_the_site_set_holds_whatever_the_owner_writes(site: Site, attacker: Tenant) -> None:
    """LAST_BACKUP_TIME is the owner's to write; the restore points tell the truth to the timer."""
    site.configure(minimum_frequency_seconds=3600)
    vm_id = attacker.machine()
    apps = checks.backed_up(site, vm_id)
    for last in ("0", "4000000000", "x"):
        attacker.update(
            vm_id, f'BACKUP=[FREQUENCY_SECONDS="1",MARKETPLACE_ID="{site.market}",LAST_BACKUP_TIME="{last}"]'
        )
        checks.good(site.onebackup("run"))
        assert site.apps() == apps, last
    site.configure(minimum_frequency_seconds=1)
    time.sleep(1.1)
    checks.good(site.onebackup("run"))
    assert site.apps() != apps


def test_a_marketplace_that_the_site_does_not_allow_gets_nothing(site: Site, attacker: Tenant) -> None:
    private = site.make_market()
    site.configure(allowed_marketplaces=[site.market])
    for named in (str(private), "-1", f"{site.market},{private}"):
        vm_id = attacker.machine(backup=f'FREQUENCY_SECONDS="300",MARKETPLACE_ID="{named}"')
        assert site.onebackup("backup", vm_id).code == 3
    assert site.onebackup("run").code == 1
    assert site.apps() == [] and site.vm_state(vm_id) == machines.RUNNING


def test_an_onebackup_that_claims_a_run_of_the_victims(site: Site, victim: Victim, attacker: Tenant) -> None:
    """`recover` corrects a VM that says for long that it is backed up, and records a restore point of that run."""
    vm_id = attacker.machine()
    for run in (victim.run, "../../etc/x", "f" * 32, ""):
        attacker.update(vm_id, f'ONEBACKUP=[STATE="RUNNING",RUN="{run}",TIME="1"]')
        site.onebackup("recover", "--all-nodes")
        assert site.user_template(vm_id, "ONEBACKUP/STATE") == "ERROR"
        assert site.recorded(vm_id) == [] and site.journals() == []


def test_a_name_with_the_victims_run_id_in_it(site: Site, victim: Victim, attacker: Tenant) -> None:
    """Temporary objects are known by the run id in their names, which begin with the VM's name."""
    run = victim.run
    for name in (f"x - BACKUP - 20261123_120000 - {run}", f"{run}-disk-0", f"a {run}-disk- b", f"x - RESTORED {run}"):
        vm_id = attacker.machine(name=name)
        checks.backed_up(site, vm_id)
    apps = site.apps()
    checks.good(site.onebackup("recover", "--all-nodes"))
    assert site.apps() == apps and len(apps) == 10
