# SPDX-License-Identifier: Apache-2.0
"""Restores as an admin makes them."""

from __future__ import annotations

import base64
import re
import subprocess
import time
from typing import Optional

import pytest
from lxml import etree

from tests.e2e import checks, machines
from tests.e2e.machines import TWO_DISKS, Disk
from tests.e2e.proxy import Proxy
from tests.e2e.site import Site, unique, wait


def restore(site: Site, *arguments: object) -> int:
    return checks.restored(site.onebackup("restore", *arguments, "-d", "default"))


def network(site: Site) -> int:
    text = f'NAME="{unique("net")}"\nVN_MAD="dummy"\nBRIDGE="br0"\nAR=[TYPE="IP4",IP="10.0.0.10",SIZE="20"]'
    return int(site.call("one.vn.allocate", text, -1))


def nic(site: Site, vm_id: int) -> tuple[Optional[str], Optional[str]]:
    element = site.info("vm", vm_id)
    return element.findtext("TEMPLATE/NIC/IP"), element.findtext("TEMPLATE/NIC/MAC")


def permissions(element: etree._Element) -> str:
    found = element.find("PERMISSIONS")
    assert found is not None
    return "".join(item.text or "" for item in found)


@pytest.mark.both_versions
def test_everything_a_user_had_set_comes_back(site: Site) -> None:
    uid, gid = machines.user(site), int(site.call("one.group.allocate", unique("group")))
    net = network(site)
    vm_id = machines.machine(
        site, (Disk(2, random=True), Disk(1, "qcow2", persistent=True)), name="web 1 ü",
        backup='FREQUENCY_SECONDS="3600",COLOUR="blue"',
        more=f'NIC=[NETWORK_ID="{net}",MODEL="virtio"]\nVCPU="2"\nDESCRIPTION="a \\"quoted\\"\nline"\n'
        'CONTEXT=[NETWORK="YES",SSH_KEY="ssh-rsa AAA= me@here",START_SCRIPT="echo \\"hello\\"\necho two"]\n'
        'GRAPHICS=[TYPE="VNC",LISTEN="0.0.0.0"]\nOS=[ARCH="x86_64",BOOT="disk0"]\nFEATURES=[ACPI="yes"]',
    )  # fmt: skip
    site.call("one.vm.chown", vm_id, uid, gid)
    site.call("one.vm.chmod", vm_id, 1, 1, 0, 1, 0, 0, 0, 0, 0)
    before, apps = site.info("vm", vm_id), checks.backed_up(site, vm_id)
    machines.bring_to(site, vm_id, machines.DONE)

    out = site.onebackup("restore", vm_id, "-d", "default")

    after = site.info("vm", checks.restored(out))
    for path in ("NAME", "UID", "GID", "TEMPLATE/CPU", "TEMPLATE/MEMORY", "TEMPLATE/VCPU", "TEMPLATE/NIC/IP",
                 "TEMPLATE/NIC/MAC", "TEMPLATE/NIC/NETWORK_ID", "TEMPLATE/NIC/MODEL", "TEMPLATE/NIC/SECURITY_GROUPS",
                 "USER_TEMPLATE/DESCRIPTION", "TEMPLATE/CONTEXT/SSH_KEY", "TEMPLATE/CONTEXT/START_SCRIPT",
                 "TEMPLATE/GRAPHICS/TYPE", "TEMPLATE/OS/ARCH", "TEMPLATE/OS/BOOT", "TEMPLATE/FEATURES/ACPI",
                 "USER_TEMPLATE/BACKUP/FREQUENCY_SECONDS", "USER_TEMPLATE/BACKUP/MARKETPLACE_ID",
                 "USER_TEMPLATE/BACKUP/COLOUR"):  # fmt: skip
        assert after.findtext(path) == before.findtext(path), path
        assert before.findtext(path) is not None, path
    assert permissions(after) == permissions(before)
    assert [disk.findtext("PERSISTENT") for disk in after.findall("TEMPLATE/DISK")] == [None, "YES"]
    assert after.find("USER_TEMPLATE/BACKUP/MARKETPLACE_APP_IDS") is None
    assert after.findtext("USER_TEMPLATE/ONEBACKUP/STATE") == "RESTORED"
    assert after.findtext("USER_TEMPLATE/ONEBACKUP/RESTORE_POINT") == str(apps[-1])
    owners = {site.info("image", int(disk.findtext("IMAGE_ID", ""))).findtext("UID")
              for disk in after.findall("TEMPLATE/DISK")}  # fmt: skip
    assert owners == {str(uid)}
    checks.same_bytes(site, int(after.findtext("ID", "")), apps[:-1])


def test_the_log_has_the_stock_lines(site: Site) -> None:
    vm_id = machines.machine(site)
    apps = checks.backed_up(site, vm_id)
    out = site.onebackup("restore", vm_id, "-d", "default").out
    stock = [
        "Reading backup information",
        f"Restoring VM {vm_id} from saved appliance {apps[-1]}",
        r"Backup restored, VM template: \[\d+\], images: \[\d+\]",
        r"Instantiating the template \[\d+\]",
    ]
    lines = iter(out.splitlines())
    for pattern in stock:
        assert any(re.search(pattern, line) for line in lines), out
    assert re.fullmatch(r"ID: \d+", out.splitlines()[-1])


def test_with_the_old_vm_still_running_it_gets_a_new_address_and_says_so(site: Site) -> None:
    vm_id = machines.machine(site, more=f'NIC=[NETWORK_ID="{network(site)}"]')
    checks.backed_up(site, vm_id)

    back = site.onebackup("restore", vm_id, "-d", "default")

    new_id = checks.restored(back)
    ip, mac = nic(site, new_id)
    assert ip and mac and (ip, mac) != nic(site, vm_id)
    assert f"is in use by VM {vm_id}" in back.out and "gets a new address" in back.out
    assert site.vm_state(vm_id) == site.vm_state(new_id) == machines.RUNNING


def test_addresses_and_networks_can_be_left_out(site: Site) -> None:
    net = network(site)
    vm_id = machines.machine(site, more=f'NIC=[NETWORK_ID="{net}",IP="10.0.0.15"]')
    checks.backed_up(site, vm_id)
    machines.bring_to(site, vm_id, machines.DONE)
    assert nic(site, restore(site, vm_id, "--no-ip"))[0] not in (None, "10.0.0.15")
    assert nic(site, restore(site, vm_id, "--no-nic")) == (None, None)
    assert nic(site, restore(site, vm_id))[0] == "10.0.0.15"


def test_a_network_that_is_gone_costs_the_nic_only(site: Site) -> None:
    net = network(site)
    vm_id = machines.machine(site, more=f'NIC=[NETWORK_ID="{net}"]')
    checks.backed_up(site, vm_id)
    machines.bring_to(site, vm_id, machines.DONE)
    site.call("one.vn.delete", net)
    back = site.onebackup("restore", vm_id, "-d", "default")
    assert nic(site, checks.restored(back)) == (None, None)
    assert f"network {net}" in back.out and "without this NIC" in back.out


def test_restoring_twice_and_by_name(site: Site) -> None:
    vm_id = machines.machine(site, TWO_DISKS, name="same")
    apps = checks.backed_up(site, vm_id)
    first, second = restore(site, vm_id), restore(site, vm_id, "--name", "other")
    assert [site.info("vm", number).findtext("NAME") for number in (first, second)] == ["same", "other"]
    for number in (first, second):
        checks.same_bytes(site, number, apps[:-1])


def test_an_older_restore_point_by_id_and_by_time(site: Site) -> None:
    vm_id = machines.machine(site, (Disk(1, random=True),), machines.POWEROFF)
    first = checks.backed_up(site, vm_id, "--keep-backup")
    (disk,) = machines.vm_disks(site, vm_id)
    subprocess.run(["qemu-io", "-f", disk.format, "-c", "write -P 90 0 4k", str(disk.path)], check=True)
    while time.time() < checks.listed(site, vm_id)[0]["time"] + 1:
        time.sleep(0.05)
    second = checks.backed_up(site, vm_id, "--force", "--keep-backup")
    assert machines.contents(machines.stored_disks(site, first[:-1])) != machines.contents(
        machines.stored_disks(site, second[:-1]))  # fmt: skip

    times = {item["id"]: item["local_time"] for item in checks.listed(site, vm_id)}
    checks.same_bytes(site, restore(site, vm_id), second[:-1])
    checks.same_bytes(site, restore(site, vm_id, "--backup", first[-1]), first[:-1])
    checks.same_bytes(site, restore(site, vm_id, "--backup", times[first[-1]]), first[:-1])
    checks.same_bytes(site, restore(site, "--app", first[-1]), first[:-1])
    refused = site.onebackup("restore", vm_id, "-d", "default", "--backup", "2001-01-01")
    assert refused.code == 3 and times[second[-1]] in refused.err and "2001-01-01" in refused.err


def test_without_waiting_and_without_starting(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    assert site.vm_state(restore(site, vm_id, "--no-start")) == machines.HOLD
    site.front_end.control("slow", what="prolog", seconds=0.5)
    new_id = restore(site, vm_id, "--no-wait")
    assert site.vm_state(new_id) != machines.RUNNING
    machines.await_state(site, new_id, machines.RUNNING)


def test_a_cd_rom_that_is_gone_is_left_out_with_a_word(site: Site) -> None:
    vm_id = machines.machine(site, (Disk(1), Disk(1, kind="CDROM")))
    cdrom = site.info("vm", vm_id).findtext("TEMPLATE/DISK[TYPE='CDROM']/IMAGE_ID")
    checks.backed_up(site, vm_id)
    machines.bring_to(site, vm_id, machines.DONE)
    site.call("one.image.delete", int(cdrom or -1))
    back = site.onebackup("restore", vm_id, "-d", "default")
    assert len(site.info("vm", checks.restored(back)).findall("TEMPLATE/DISK")) == 1
    assert f"CD-ROM image {cdrom} is gone" in back.out


def stock_restore_point(site: Site, vm_id: int, name: str) -> list[int]:
    """What the 6.4 command line leaves in a marketplace (opennebula.md 1.3): apps without attributes of ours."""
    image = int(site.info("vm", vm_id).findtext("TEMPLATE/DISK/IMAGE_ID", ""))
    inner = base64.b64encode(b'TYPE=OS\nDEV_PREFIX="vd"\n').decode()
    image_name = f"{name}-disk-0-0123456789"
    text = f'NAME="{image_name}"\nORIGIN_ID="{image}"\nTYPE="IMAGE"\nVERSION="6.4.0"\nAPPTEMPLATE64="{inner}"'
    image_app = int(site.call("one.marketapp.allocate", text, site.market))
    machine = base64.b64encode(b'CPU="0.1"\nMEMORY="64"\nGUEST="none"\nNIC=[NETWORK_MODE="auto"]').decode()
    text = (f'DISK=[NAME="OS_0",APP="{image_name}"]\nNAME="{name}"\nORIGIN_ID="-1"\nTYPE="VMTEMPLATE"\n'
            f'VERSION="6.4.0"\nAPPTEMPLATE64="{machine}"')  # fmt: skip
    vm_app = int(site.call("one.marketapp.allocate", text, site.market))
    return [image_app, vm_app]


@pytest.mark.both_versions
def test_a_restore_point_made_by_stock_opennebula(site: Site) -> None:
    network(site)
    vm_id = machines.machine(site, (Disk(2, random=True),))
    apps = stock_restore_point(site, vm_id, f"old {vm_id} - BACKUP  - 20261123_ 234")
    machines.backup_section(
        site, vm_id, f'FREQUENCY_SECONDS="1",MARKETPLACE_ID="{site.market}",MARKETPLACE_APP_IDS="{apps[0]},{apps[1]}"'
    )
    wait("the upload", lambda: site.info("marketapp", apps[0]).findtext("STATE") == "1")
    assert checks.listed(site, vm_id) == []

    refused = site.onebackup("restore", vm_id, "-d", "default")
    assert refused.code == 3 and f"--app {apps[1]}" in refused.err

    new_id = restore(site, "--app", apps[1])
    assert site.vm_state(new_id) == machines.RUNNING
    assert site.info("vm", new_id).findtext("NAME") == f"old {vm_id}"
    checks.same_bytes(site, new_id, apps[:1])
    assert nic(site, new_id)[0]
    assert nic(site, restore(site, "--app", apps[1], "--no-nic")) == (None, None)
    checks.backed_up(site, vm_id)
    assert set(apps) < set(site.apps()), "what stock OpenNebula made is not ours to delete"


@pytest.mark.parametrize("what", ["download", "prolog", "boot"])
def test_a_restore_that_fails_leaves_nothing_and_says_what_failed(site: Site, what: str) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    checks.backed_up(site, vm_id)
    before = site.everything()
    site.front_end.control("next", what=what, result="fail")

    failed = site.onebackup("restore", vm_id, "-d", "default", "--logger", site.folder / "log")

    assert failed.code == 1
    assert {"download": "could not be downloaded", "prolog": "PROLOG_FAILURE", "boot": "BOOT_FAILURE"}[what] in (
        failed.error_line
    )
    assert "removed" in failed.error_line and failed.out == ""
    checks.as_expected(site, before)


def test_bytes_that_changed_in_the_marketplace_are_noticed(site: Site) -> None:
    vm_id = machines.machine(site, (Disk(1, random=True),))
    apps = checks.backed_up(site, vm_id)
    before = site.everything()
    with open(site.stored_file(apps[0]), "r+b") as stored:
        stored.seek(5000)
        stored.write(b"rot")

    failed = site.onebackup("restore", vm_id, "-d", "default", "--logger", site.folder / "log")

    assert failed.code == 1 and "MD5" in failed.error_line and f"app {apps[0]}" in failed.error_line
    checks.as_expected(site, before)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 2, "no datastore given"),
        (("-d", "nowhere"), 3, "there is no datastore 'nowhere'"),
        (("-d", "4711"), 3, "there is no datastore '4711'"),
        (("-d", "system"), 3, "does not hold images"),
        (("-d", "files"), 3, "does not hold images"),
        (("-d", "default", "--backup", "4711"), 3, "'4711'"),
    ],
)
def test_where_a_restore_cannot_go(site: Site, proxy: Proxy, options: tuple[str, ...], code: int, words: str) -> None:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    proxy.calls.clear()
    refused = site.onebackup("restore", vm_id, *options, "--logger", site.folder / "log")
    assert refused.code == code and words in refused.error_line
    assert proxy.changing_calls() == []


def test_what_cannot_be_restored(site: Site) -> None:
    vm_id = machines.machine(site)
    for arguments, words in (
        ((vm_id,), f"no restore point of VM {vm_id}"),
        ((99999,), "no restore point of VM 99999"),
        (("--app", 99999), "there is no app 99999"),
    ):
        refused = site.onebackup("restore", *arguments, "-d", "default", "--logger", site.folder / "log")
        assert refused.code == 3 and words in refused.error_line, refused
    apps = checks.backed_up(site, vm_id)
    refused = site.onebackup("restore", "--app", apps[0], "-d", "default", "--logger", site.folder / "log")
    assert refused.code == 3 and "not a VM template" in refused.error_line
    uid = machines.user(site)
    site.call("one.marketapp.chown", apps[-1], uid, -1)
    refused = site.onebackup("restore", "--app", apps[-1], "-d", "default", "--logger", site.folder / "log")
    assert refused.code == 3 and f"belongs to user {uid}" in refused.error_line
    assert site.onebackup("restore", "-d", "default").code == 2
    assert site.onebackup("restore", vm_id, "--app", 1, "-d", "default").code == 2
