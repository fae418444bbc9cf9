# SPDX-License-Identifier: Apache-2.0
"""Apps, images and templates of a tenant that claim to be ours or somebody else's."""

from __future__ import annotations

import json

import pytest
from lxml import etree

from onebackup_driver import manifest
from tests.deputy import tenants
from tests.deputy.conftest import Victim, victim_of
from tests.deputy.tenants import Tenant
from tests.e2e import checks, machines
from tests.e2e.proxy import Proxy
from tests.e2e.site import Site, unique, wait


def attributes(values: dict[str, str]) -> str:
    return ",".join(f'{key}="{value}"' for key, value in values.items())


def copied(site: Site, attacker: Tenant, app_id: int, more: str = "", **tags: str) -> int:
    """A VMTEMPLATE app of the attacker's with all that an app says of itself, and what is changed in it."""
    element = site.info("marketapp", app_id)
    values = {**checks.tags(site, app_id), **tags}
    disks = [f"ONEBACKUP_DISK=[{attributes({str(i.tag): i.text or '' for i in item})}]"
             for item in element.findall("TEMPLATE/ONEBACKUP_DISK")]  # fmt: skip
    text = "\n".join([
        f'NAME="{unique("forged")}"', 'ORIGIN_ID="-1"', 'TYPE="VMTEMPLATE"',
        f'APPTEMPLATE64="{element.findtext("APPTEMPLATE64")}"', f"ONEBACKUP=[{attributes(values)}]",
        f'ONEBACKUP_VM="{element.findtext("TEMPLATE/ONEBACKUP_VM")}"', *disks, more,
    ])  # fmt: skip
    number = int(site.call("one.marketapp.allocate", text, site.market))
    attacker.own("marketapp", number)
    return number


def vm_of_app(site: Site, app_id: int) -> etree._Element:
    return etree.fromstring(manifest.decode(site.info("marketapp", app_id).findtext("TEMPLATE/ONEBACKUP_VM", "")))


def rewritten(attacker: Tenant, app_id: int, vm: etree._Element) -> None:
    """The owner of an app writes another VM into it."""
    text = manifest.encode(etree.tostring(vm, encoding="unicode"))
    attacker.call("one.marketapp.update", app_id, f'ONEBACKUP_VM="{text}"', 1)


def changed_vm(vm: etree._Element, what: str, number: int = -1) -> etree._Element:
    """The VM with `raw` text for the hypervisor, another `owner`, or somebody's image as its `cdrom`."""
    template, owner = vm.find("TEMPLATE"), vm.find("UID")
    assert template is not None and owner is not None
    if what == "raw":
        etree.SubElement(etree.SubElement(template, "RAW"), "DATA").text = "<x/>"
    elif what == "owner":
        owner.text = str(number)
    else:
        disk = etree.SubElement(template, "DISK")
        for name, value in {"IMAGE_ID": str(number), "TYPE": "CDROM", "DISK_ID": "9"}.items():
            etree.SubElement(disk, name).text = value
    return vm


def given_away(site: Site, attacker: Tenant, **options: object) -> tuple[int, list[int]]:
    """A VM of the attacker's, and its restore point, which belongs to the attacker."""
    site.configure(app_owner="vm_owner", **options)
    vm_id = attacker.machine()
    apps = checks.backed_up(site, vm_id)
    assert {site.info("marketapp", number).findtext("UID") for number in apps} == {str(attacker.uid)}
    return vm_id, apps


def refused(site: Site, *arguments: object, words: str) -> None:
    result = site.onebackup("restore", *arguments, "-d", "default", "--logger", site.folder / "log")
    assert result.code == 3 and words in result.error_line, result


# -- apps of a tenant, where restore points are oneadmin's


def test_a_copy_of_the_victims_restore_point_is_none(site: Site, victim: Victim, attacker: Tenant) -> None:
    """Newer and older ones, whole, with an id of a run that goes on: none is listed, restored, or makes others go."""
    forged = [copied(site, attacker, victim.app_ids[-1], TIME=moment, KEEP="") for moment in ("1", "1900000000")]
    forged.append(copied(site, attacker, victim.app_ids[-1], RUN="f" * 32))
    assert [item["id"] for item in checks.listed(site, victim.vm_id)] == [victim.app_ids[-1]]
    assert not {item["id"] for item in checks.listed(site)} & set(forged)
    for number in forged:
        refused(site, "--app", number, words=f"belongs to user {attacker.uid}")
    new = checks.restored(site.onebackup("restore", victim.vm_id, "-d", "default"))
    assert site.user_template(new, "ONEBACKUP/RESTORE_POINT") == str(victim.app_ids[-1])
    checks.good(site.onebackup("recover", "--all-nodes"))
    checks.good(site.onebackup("run"))


def test_retention_goes_by_our_own_apps_only(site: Site, attacker: Tenant) -> None:
    """Forged apps that claim to be newer restore points of the victim's VM neither replace one nor are replaced."""
    victim = victim_of(site)
    forged = copied(site, attacker, victim.app_ids[-1], TIME="1900000000")
    apps = checks.backed_up(site, victim.vm_id, "--force")
    assert set(site.apps()) == {*apps, forged}


@pytest.mark.both_versions
def test_an_app_with_anothers_images_in_it_restores_nothing(site: Site, victim: Victim, attacker: Tenant) -> None:
    """Both ways to say so: the stock template, and a VM with a CD-ROM that is the victim's disk."""
    secret = victim.tenant.image()
    stock = manifest.encode(f'CPU="1"\nMEMORY="64"\nDISK=[IMAGE_ID="{secret}"]')
    text = f'NAME="{unique("forged")}"\nORIGIN_ID="-1"\nTYPE="VMTEMPLATE"\nAPPTEMPLATE64="{stock}"'
    text += f'\nDISK=[NAME="OS_0",APP="{unique("x")}"]'
    forged = int(site.call("one.marketapp.allocate", text, site.market))
    attacker.own("marketapp", forged)
    refused(site, "--app", forged, words=f"belongs to user {attacker.uid}")
    before = site.everything()
    vm_id = attacker.machine()
    checks.backed_up(site, vm_id)
    for session in (attacker.onebackup("restore", "--app", forged, "-d", "default", "--logger", "/dev/null"),):
        assert session.code in (1, 3), session
    assert site.ids("image") >= before["image"] and site.info("image", secret).findtext("VMS/ID") is None


# -- apps of a tenant, where restore points are the VM owner's (app_owner: vm_owner)


def test_what_is_sealed_is_restored_although_its_owner_could_write_it(site: Site, attacker: Tenant) -> None:
    vm_id, apps = given_away(site, attacker)
    assert [item["id"] for item in checks.listed(site)] == [apps[-1]]
    new = checks.restored(site.onebackup("restore", vm_id, "-d", "default"))
    assert site.info("vm", new).findtext("UID") == str(attacker.uid)
    checks.same_bytes(site, new, apps[:-1])
    machines.bring_to(site, vm_id, machines.DONE)
    checks.restored(site.onebackup("restore", "--app", apps[-1], "-d", "default"))
    key = site.location / "var" / "onebackup" / "seal.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text() not in etree.tostring(site.info("marketapp", apps[-1]), encoding="unicode")


@pytest.mark.parametrize("what", ["raw", "owner", "cdrom", "disk", "tags", "seal", "no seal", "no key", "other key"])
def test_what_its_owner_changed_is_not_restored_with_our_rights(
    site: Site, victim: Victim, attacker: Tenant, what: str
) -> None:
    vm_id, apps = given_away(site, attacker)
    vm, tags, key = vm_of_app(site, apps[-1]), checks.tags(site, apps[-1]), site.location / "var/onebackup/seal.key"
    if what in ("raw", "owner", "cdrom"):
        number = victim.tenant.image() if what == "cdrom" else victim.tenant.uid
        rewritten(attacker, apps[-1], changed_vm(vm, what, number))
    changed = {"tags": {"VM_ID": str(victim.vm_id)}, "seal": {"SEAL": "0" * 64}, "no seal": {"SEAL": ""}}
    text = f'ONEBACKUP_DISK=[DISK_ID="0",APP_ID="{victim.app_ids[0]}"]' if what == "disk" else ""
    if what in changed:
        text = f"ONEBACKUP=[{attributes({**tags, **changed[what]})}]"
    if text:
        attacker.call("one.marketapp.update", apps[-1], text, 1)
    if what == "no key":
        key.unlink()
    if what == "other key":
        key.write_text("ab" * 32)
    before = site.everything()
    refused(site, "--app", apps[-1], words=f"onemarketapp chown {apps[-1]} 0")
    result = site.onebackup("restore", vm_id, "-d", "default", "--logger", site.folder / "log")
    assert result.code == 3, result
    assert site.everything() == before


def test_the_newest_that_nobody_changed_is_restored(site: Site, attacker: Tenant) -> None:
    """One that its owner changed is listed with the reason why it is passed over."""
    vm_id, older = given_away(site, attacker)
    checks.good(site.onebackup("backup", vm_id, "--force", "--keep-backup"))
    newer = site.recorded(vm_id)
    rewritten(attacker, newer[-1], changed_vm(vm_of_app(site, newer[-1]), "raw"))
    states = {point["id"]: point["problems"] for point in checks.listed(site, vm_id)}
    assert states[older[-1]] == [] and f"onemarketapp chown {newer[-1]} 0" in states[newer[-1]][0]
    new = checks.restored(site.onebackup("restore", vm_id, "-d", "default"))
    assert site.user_template(new, "ONEBACKUP/RESTORE_POINT") == str(older[-1])


def test_a_seal_is_good_for_one_app(site: Site, victim: Victim, attacker: Tenant) -> None:
    """The record of somebody else, with its seal, is still somebody else's."""
    site.configure(app_owner="vm_owner")
    other = victim_of(site)
    forged = copied(site, attacker, other.app_ids[-1])
    assert checks.tags(site, forged)["SEAL"] == checks.tags(site, other.app_ids[-1])["SEAL"]
    refused(site, "--app", forged, words="its seal does not fit")
    assert forged not in [item["id"] for item in checks.listed(site)]


@pytest.mark.parametrize("named", ["oneadmins", "another owners"])
def test_a_terminated_vm_takes_only_its_own_apps_along(site: Site, attacker: Tenant, named: str) -> None:
    """terminated_vms: delete; the dead VM's restore point claims the run and the apps of another VM."""
    site.configure(app_owner="vm_owner" if named == "another owners" else "oneadmin")
    victim = victim_of(site)
    vm_id, apps = given_away(site, attacker, terminated_vms="delete")
    victims = checks.tags(site, victim.app_ids[-1])["RUN"]
    text = f"ONEBACKUP=[{attributes({**checks.tags(site, apps[-1]), 'RUN': victims})}]\n" + "\n".join(
        f'ONEBACKUP_DISK=[DISK_ID="{number}",APP_ID="{app_id}"]' for number, app_id in enumerate(victim.app_ids)
    )
    attacker.call("one.marketapp.update", apps[-1], text, 1)
    attacker.call("one.vm.action", "terminate-hard", vm_id)
    machines.await_state(site, vm_id, machines.DONE)
    site.onebackup("run")
    assert apps[-1] not in site.apps(), "its own was deleted"
    tenants.untouched(site, victim.before)


@pytest.mark.parametrize("run", ["../../../../../tmp/onebackup-escaped", "a/b", "", "F" * 32, "a" * 31])
def test_a_run_id_that_is_none_is_no_part_of_a_path(site: Site, attacker: Tenant, run: str) -> None:
    vm_id, apps = given_away(site, attacker, terminated_vms="delete")
    tags = {**checks.tags(site, apps[-1]), "RUN": run}
    attacker.call("one.marketapp.update", apps[-1], f"ONEBACKUP=[{attributes(tags)}]", 1)
    attacker.call("one.vm.action", "terminate-hard", vm_id)
    machines.await_state(site, vm_id, machines.DONE)
    checks.good(site.onebackup("run"))
    assert apps[-1] in site.apps() and checks.listed(site, vm_id) == []


# -- what looks like a temporary object of a run


@pytest.mark.parametrize("whose", ["attacker", "victim"])
def test_objects_that_look_temporary_are_not_taken_for_ours(
    site: Site, victim: Victim, attacker: Tenant, whose: str
) -> None:
    """Names, tags and SAVED_VM_ID as our own runs make them, in objects of tenants: of an ended run, and of none."""
    tenant = attacker if whose == "attacker" else victim.tenant
    made = []
    for run in (victim.run, "d" * 32):
        name = f"x - BACKUP - 20200101_000000 - {run}"
        tags = {"RUN": run, "ROLE": "temporary", "VM_ID": str(victim.vm_id), "ACTIONS": "poweroff", "WAS": "RUNNING",
                "SEQUENCE": "0", "TIME": "1", "VM_NAME": "x", "VM_STARTED": "1"}  # fmt: skip
        text = f'NAME="{name}"\nCPU="1"\nMEMORY="64"\nONEBACKUP=[{attributes(tags)}]'
        made.append(("template", int(tenant.call("one.template.allocate", text))))
        image = tenant.image()
        tenant.call("one.image.rename", image, f"{name}-disk-0")
        tenant.call("one.image.update", image, f'SAVED_VM_ID="{victim.vm_id}"\nSAVED_DISK_ID="0"', 1)
        made.append(("image", image))
    checks.good(site.onebackup("recover", "--all-nodes"))
    checks.good(site.onebackup("run"))
    assert all(number in site.ids(kind) for kind, number in made)


def test_a_run_of_ours_undoes_its_own_things_only(site: Site, victim: Victim, attacker: Tenant) -> None:
    """A backup fails at its last call; meanwhile there are objects of the attacker's with its run id in their names."""
    vm_id = attacker.machine()
    before = site.everything()
    made: list[int] = []
    site.front_end.control("slow", what="import", seconds=1.5)
    site.front_end.control("fail", method="one.marketapp.allocate", nth=2, code=2048, message="no room")
    run = site.begin("backup", vm_id)
    wait("the run's journal", lambda: any(path.suffix == ".json" for path in site.journals()))
    run_id = json.loads(site.journals()[0].read_text())["run"]
    for name in (f"mine - BACKUP - 20200101_000000 - {run_id}", f"{run_id}-disk-0", run_id):
        made.append(int(attacker.call("one.template.allocate", f'NAME="{name}"\nCPU="1"\nMEMORY="64"')))
    assert run.end().code == 1
    site.front_end.control("clear")
    checks.as_expected(site, {**before, "template": before["template"] | set(made)})


def test_a_name_that_is_taken_keeps_nobody_from_being_backed_up(site: Site, attacker: Tenant) -> None:
    """Names are unique for each owner: with app_owner: vm_owner the owner may have one of that name already."""
    site.configure(app_owner="vm_owner")
    vm_id = attacker.machine()
    site.front_end.control("fail", method="one.marketapp.chown", code=4096, message="already owns MARKETPLACEAPP")
    done = site.onebackup("backup", vm_id)
    assert done.code == 0 and "stays ours" in done.err
    assert [point["problems"] for point in checks.listed(site, vm_id)] == [[]]
    checks.restored(site.onebackup("restore", vm_id, "-d", "default"))


def test_nothing_but_our_own_is_ever_sealed(site: Site, proxy: Proxy, attacker: Tenant) -> None:
    """The run id of a backup under way can be read on the VM: the owner writes it into a restore point of an earlier
    day, with a machine of the owner's liking, to have that one sealed."""
    vm_id, old = given_away(site, attacker)
    rewritten(attacker, old[-1], changed_vm(vm_of_app(site, old[-1]), "raw"))

    def claim() -> None:
        tags = {**checks.tags(site, old[-1]), "RUN": site.user_template(vm_id, "ONEBACKUP/RUN"), "KEEP": "YES"}
        attacker.call("one.marketapp.update", old[-1], f"ONEBACKUP=[{attributes(tags)}]", 1)
        tags = {**checks.tags(site, old[0]), "RUN": tags["RUN"]}
        attacker.call("one.marketapp.update", old[0], f"ONEBACKUP=[{attributes(tags)}]", 1)

    proxy.at("one.marketapp.allocate", claim, nth=2, when="after")
    checks.good(site.onebackup("backup", vm_id, "--force"))
    assert proxy.deeds_done == 1 and old[-1] in site.apps()
    refused(site, "--app", old[-1], words="its seal does not fit")
    assert old[-1] not in [item["id"] for item in checks.listed(site)]
