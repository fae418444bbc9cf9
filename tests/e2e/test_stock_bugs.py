# SPDX-License-Identifier: Apache-2.0
"""B1 to B20: what the backup of OpenNebula 6.0-6.4 does wrong (opennebula.md 1.5), provoked here."""

from __future__ import annotations

import re
import time

import pytest

from sandbox.process import Refused
from tests.e2e import checks, machines
from tests.e2e.machines import TWO_DISKS, Disk
from tests.e2e.proxy import Proxy
from tests.e2e.site import Result, Site, unique, wait


def failed(result: Result, *words: str) -> Result:
    """Exit 1, and the last line on stderr says what happened and that nothing was lost."""
    assert result.code == 1, result
    for text in (*words, "restore points are untouched"):
        assert text in result.err.splitlines()[-1], result
    return result


@pytest.mark.parametrize(
    ("command", "fault", "words"),
    [
        ("fail", {"method": "one.vm.action", "code": 2048, "message": "not now"}, "not now"),
        ("fail", {"method": "one.vm.disksaveas", "code": 2048, "message": "quota"}, "quota"),
        ("next", {"what": "poweroff", "result": "fail"}, "fell back to RUNNING"),
        ("next", {"what": "saveas", "result": "fail"}, "disk 0"),
        ("next", {"what": "import", "result": "fail"}, "upload of app"),
        ("fail", {"method": "one.marketapp.allocate", "code": 8192, "message": "no room"}, "no room"),
    ],
)
def test_b01_an_error_never_costs_older_backups(
    site: Site, command: str, fault: dict[str, object], words: str
) -> None:
    vm_id = machines.machine(site)
    apps = checks.backed_up(site, vm_id)
    before, section = site.everything(), site.user_template(vm_id, "BACKUP/LAST_BACKUP_TIME")
    site.front_end.control("slow", what="poweroff", seconds=0.3)  # or it falls back faster than anybody can look
    site.front_end.control(command, **fault)

    failed(site.onebackup("backup", vm_id, "--force"), words)

    checks.undone(site, before, vm_id)
    assert site.apps() == apps == site.recorded(vm_id)
    assert site.user_template(vm_id, "BACKUP/LAST_BACKUP_TIME") == section
    assert site.user_template(vm_id, "ONEBACKUP/STATE") == "ERROR"
    assert words in site.user_template(vm_id, "ONEBACKUP/MESSAGE")
    site.front_end.control("clear")
    checks.same_bytes(site, checks.restored(site.onebackup("restore", vm_id, "-d", "default")), apps[:-1])


def test_b01_a_policy_that_cannot_be_read_costs_nothing(site: Site) -> None:
    """Even `No frequency defined` deleted the older backups."""
    vm_id = machines.machine(site)
    apps = checks.backed_up(site, vm_id)
    machines.backup_section(site, vm_id, f'MARKETPLACE_ID="{site.market}"')
    assert site.onebackup("backup", vm_id).code == 3
    assert site.apps() == apps


@pytest.mark.both_versions
def test_b02_a_disksaveas_that_fails_later_is_an_error(site: Site) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    apps, before = checks.backed_up(site, vm_id), site.everything()
    time_before = site.user_template(vm_id, "BACKUP/LAST_BACKUP_TIME")
    site.front_end.control("next", what="saveas", result="fail", vm=vm_id)
    failed(site.onebackup("backup", vm_id, "--force"), "disk 0", "image")
    checks.undone(site, before, vm_id)
    assert site.recorded(vm_id) == apps
    assert site.user_template(vm_id, "BACKUP/LAST_BACKUP_TIME") == time_before


@pytest.mark.both_versions
def test_b03_an_upload_that_fails_is_an_error(site: Site) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    apps, before = checks.backed_up(site, vm_id), site.everything()
    site.front_end.control("next", what="import", result="fail")
    failed(site.onebackup("backup", vm_id, "--force"), "Failed on request", "RUNNING")
    checks.undone(site, before, vm_id)
    assert site.recorded(vm_id) == apps


def test_b04_a_failure_after_poweroff_starts_the_vm_again(site: Site) -> None:
    vm_id = machines.machine(site, (Disk(4), Disk(4)), guest=True)
    site.front_end.control("fail", method="one.vm.disksaveas", nth=2, code=2048, message="no space left")
    failed(site.onebackup("backup", vm_id), "no space left", f"VM {vm_id} is RUNNING")
    assert site.vm_state(vm_id) == machines.RUNNING
    machines.await_guest(site, vm_id, 3)


def test_b05_a_poweroff_that_falls_back_and_a_cd_rom_end_at_once(site: Site) -> None:
    vm_id = machines.machine(site, (Disk(1), Disk(1, kind="CDROM")))
    site.front_end.control("next", what="poweroff", result="fail", vm=vm_id)
    site.front_end.control("slow", what="poweroff", seconds=0.3)
    began = time.monotonic()
    failed(site.onebackup("backup", vm_id), "fell back to RUNNING")
    checks.backed_up(site, vm_id)
    assert time.monotonic() - began < 30


def test_b06_long_copies_and_uploads_are_waited_for(site: Site) -> None:
    """Stock waits 120 s for a copy and 60 s for an upload, then goes wrong. Ours has deadlines of its own (see
    test_rules.py for their ends); here both take longer than everything else in a backup."""
    vm_id = machines.machine(site)
    for what in ("saveas", "import"):
        site.front_end.control("slow", what=what, seconds=2)
    apps = checks.backed_up(site, vm_id)
    assert [site.info("marketapp", number).findtext("STATE") for number in apps] == ["1", "1"]
    assert site.vm_state(vm_id) == machines.RUNNING


def test_b06_an_upload_that_does_not_end_is_no_success(site: Site) -> None:
    vm_id = machines.machine(site)
    apps, before = checks.backed_up(site, vm_id), site.everything()
    site.configure(timeouts={"upload_s": 0.5})
    site.front_end.control("slow", what="import", seconds=2)
    failed(site.onebackup("backup", vm_id, "--force"), "did not end within 0.5 s")
    checks.undone(site, before, vm_id)
    assert site.recorded(vm_id) == apps


@pytest.mark.both_versions
def test_b07_a_volatile_disk_is_named_as_not_saved(site: Site) -> None:
    vm_id = machines.machine(site, more='DISK=[TYPE="swap",SIZE="1"]')
    out = site.onebackup("backup", vm_id, "--logger", site.folder / "log").out
    assert "not saved: disk 0" in out and len(site.apps()) == 2
    assert checks.listed(site, vm_id)[0]["not_saved"] == [0]


def test_b08_a_oneshot_goes_where_it_is_told_and_leaves_the_vm_alone(site: Site) -> None:
    other, vm_id = site.make_market(), machines.machine(site)
    apps = checks.backed_up(site, vm_id)
    checks.good(site.onebackup("backup", vm_id, "--oneshot", "--market", other))
    new = set(site.apps()) - set(apps)
    assert {site.info("marketapp", number).findtext("MARKETPLACE_ID") for number in new} == {str(other)}
    assert set(apps) < set(site.apps()) and site.recorded(vm_id) == apps
    without = machines.machine(site, backup="-")
    checks.good(site.onebackup("backup", without, "--oneshot", "--market", other))
    assert site.info("vm", without).find("USER_TEMPLATE/BACKUP") is None
    assert site.onebackup("backup", vm_id, "--oneshot").code == 2


@pytest.mark.both_versions
def test_b09_addresses_security_groups_owner_and_context_come_back(site: Site) -> None:
    """More of it in test_restore_stories.py. The VM has no template, which stock needs."""
    uid = machines.user(site)
    net = site.call("one.vn.allocate", f'NAME="{unique("net")}"\nVN_MAD="dummy"\nBRIDGE="br0"\n'
                    'AR=[TYPE="IP4",IP="10.1.0.1",SIZE="9"]', -1)  # fmt: skip
    vm_id = machines.machine(site, more=f'NIC=[NETWORK_ID="{net}",IP="10.1.0.7",SECURITY_GROUPS="0"]\n'
                             'CONTEXT=[SET="by updateconf"]')  # fmt: skip
    site.call("one.vm.chown", vm_id, uid, -1)
    mac = site.info("vm", vm_id).findtext("TEMPLATE/NIC/MAC")
    checks.backed_up(site, vm_id)
    machines.bring_to(site, vm_id, machines.DONE)
    new = site.info("vm", checks.restored(site.onebackup("restore", vm_id, "-d", "default")))
    nic = [new.findtext(f"TEMPLATE/NIC/{key}") for key in ("IP", "MAC", "SECURITY_GROUPS")]
    assert nic == ["10.1.0.7", mac, "0"]
    assert (new.findtext("UID"), new.findtext("TEMPLATE/CONTEXT/SET")) == (str(uid), "by updateconf")


def test_b10_restores_never_clash_and_kept_backups_can_be_found(site: Site) -> None:
    vm_id = machines.machine(site)
    first = checks.backed_up(site, vm_id, "--keep-backup")
    second = checks.backed_up(site, vm_id, "--force", "--keep-backup")
    assert [item["id"] for item in checks.listed(site, vm_id)] == [first[-1], second[-1]]
    ids = [checks.restored(site.onebackup("restore", vm_id, "-d", "default", "--backup", number, "--no-start"))
           for number in (first[-1], second[-1], second[-1])]  # fmt: skip
    assert len(set(ids)) == 3


@pytest.mark.parametrize("state", [machines.SUSPENDED, machines.UNDEPLOYED, machines.STOPPED])
def test_b11_vms_at_rest_can_be_backed_up(site: Site, state: tuple[int, int]) -> None:
    vm_id = machines.machine(site, state=state)
    checks.backed_up(site, vm_id)
    assert site.vm_state(vm_id) == state


def test_b11_the_vm_runs_while_its_disks_are_uploaded(site: Site, proxy: Proxy) -> None:
    """The downtime is the copy of the disks in the datastore, nothing else; the marketplace is looked at before it."""
    vm_id, seen = machines.machine(site, TWO_DISKS), []
    proxy.at("one.marketapp.allocate", lambda: seen.append(site.vm_state(vm_id)))
    checks.backed_up(site, vm_id)
    assert seen == [machines.RUNNING]
    assert proxy.calls.index("one.market.info") < proxy.calls.index("one.vm.action poweroff")
    assert proxy.changing_calls().index("one.vm.action resume") < proxy.changing_calls().index("one.marketapp.allocate")


def test_b12_a_second_run_on_the_same_vm_is_refused(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    seen: list[Result] = []
    proxy.at("one.vm.disksaveas", lambda: seen.append(site.onebackup("backup", vm_id, "--force")))
    first = checks.backed_up(site, vm_id)
    assert seen[0].code == 3 and "being backed up by pid" in seen[0].error_line
    second = checks.backed_up(site, vm_id, "--force")  # within the same minute
    assert set(first).isdisjoint(second) and site.apps() == second


def test_b13_long_names(site: Site) -> None:
    length = 128
    vm_id = machines.machine(site, name="n" * length)
    apps = checks.backed_up(site, vm_id)
    names = [site.info("marketapp", number).findtext("NAME", "") for number in apps]
    assert all(len(name.encode()) <= 128 and name.startswith("nnn") for name in names)
    new_id = checks.restored(site.onebackup("restore", vm_id, "-d", "default"))
    assert site.info("vm", new_id).findtext("NAME") == "n" * length


def test_b14_what_the_owner_writes_is_not_trusted(site: Site) -> None:
    vm_id, victim = machines.machine(site), machines.machine(site)
    others, foreign = checks.backed_up(site, victim), checks.backed_up(site, vm_id)
    alien = site.make_market()
    machines.backup_section(
        site, vm_id,
        f'FREQUENCY_SECONDS="1",MARKETPLACE_ID="{site.market}",LAST_BACKUP_TIME="1",'
        f'MARKETPLACE_APP_IDS="{others[0]},{others[1]}"',
    )  # fmt: skip
    apps = checks.backed_up(site, vm_id)
    assert set(others) < set(site.apps()), "the other VM's apps are still there"
    assert not set(foreign) & set(site.apps()), "its own were found through the catalogue"
    machines.backup_section(site, vm_id, f'FREQUENCY_SECONDS="1",MARKETPLACE_ID="{site.market}",'
                            f'LAST_BACKUP_TIME="{int(time.time()) - 60}"')  # fmt: skip
    assert "not due" in checks.good(site.onebackup("backup", vm_id)).out, "a frequency has a floor"
    machines.backup_section(site, vm_id, f'FREQUENCY_SECONDS="9999",MARKETPLACE_ID="{alien}"')
    site.configure(allowed_marketplaces=[site.market])
    refused = site.onebackup("backup", vm_id)
    assert refused.code == 3 and "allowed_marketplaces" in refused.error_line
    checks.same_bytes(site, checks.restored(site.onebackup("restore", vm_id, "-d", "default")), apps[:-1])


def test_b14_apps_that_a_user_made_up_are_not_restore_points(site: Site) -> None:
    """A tenant writes an app that claims to be a restore point of somebody's VM."""
    vm_id = machines.machine(site)
    apps = checks.backed_up(site, vm_id)
    uid = machines.user(site)
    values = ",".join(f'{key}="{value}"' for key, value in {**checks.tags(site, apps[-1]), "TIME": "1"}.items())
    forged = int(site.call("one.marketapp.allocate", f'NAME="{unique("forged")}"\nORIGIN_ID="-1"\nTYPE="VMTEMPLATE"\n'
                           f'APPTEMPLATE64=""\nONEBACKUP=[{values}]', site.market))  # fmt: skip
    site.call("one.marketapp.chown", forged, uid, -1)
    assert [item["id"] for item in checks.listed(site, vm_id)] == [apps[-1]]
    checks.backed_up(site, vm_id, "--force")
    assert forged in site.apps()


def test_b14_an_owner_of_a_restore_point_cannot_have_other_apps_deleted(site: Site) -> None:
    """Where restore points belong to the VM's owner (app_owner: vm_owner), he can write into them."""
    vm_id, victim, uid = machines.machine(site), machines.machine(site), machines.user(site)
    others = checks.backed_up(site, victim)
    site.call("one.vm.chown", vm_id, uid, -1)
    site.configure(app_owner="vm_owner")
    apps = checks.backed_up(site, vm_id)
    assert {site.info("marketapp", number).findtext("UID") for number in apps} == {str(uid)}
    forged = {**checks.tags(site, apps[-1]), "RUN": checks.tags(site, others[-1])["RUN"]}
    values = ",".join(f'{key}="{value}"' for key, value in forged.items())
    site.call("one.marketapp.update", apps[-1],
              f'ONEBACKUP=[{values}]\nONEBACKUP_DISK=[DISK_ID="0",APP_ID="{others[0]}"]', 1)  # fmt: skip
    checks.backed_up(site, vm_id, "--force")
    assert set(others) < set(site.apps())
    assert [point["problems"] for point in checks.listed(site, victim)] == [[]]


def test_b14_what_an_owner_could_have_written_is_not_restored_with_oneadmins_rights(site: Site) -> None:
    vm_id, uid = machines.machine(site), machines.user(site)
    site.call("one.vm.chown", vm_id, uid, -1)
    site.configure(app_owner="vm_owner")
    apps = checks.backed_up(site, vm_id)
    changed = {**checks.tags(site, apps[-1]), "VM_NAME": "changed"}
    values = ",".join(f'{key}="{value}"' for key, value in changed.items())
    site.call("one.marketapp.update", apps[-1], f"ONEBACKUP=[{values}]", 1)
    refused = site.onebackup("restore", vm_id, "-d", "default", "--logger", site.folder / "log")
    assert refused.code == 3 and f"onemarketapp chown {apps[-1]} 0" in refused.error_line
    site.call("one.marketapp.chown", apps[-1], 0, -1)
    checks.restored(site.onebackup("restore", vm_id, "-d", "default"))


def test_b15_backup_without_marketplace_id(site: Site) -> None:
    vm_id = machines.machine(site)
    machines.backup_section(site, vm_id, 'FREQUENCY_SECONDS="86400"')
    refused = site.onebackup("backup", vm_id)
    assert refused.code == 3 and "has no MARKETPLACE_ID" in refused.error_line
    machines.backup_section(site, vm_id, 'FREQUENCY_SECONDS="86400",MARKETPLACE_APP_IDS=""')
    refused = site.onebackup("restore", vm_id, "-d", "default", "--logger", site.folder / "log")
    assert refused.code == 3 and f"no restore point of VM {vm_id}" in refused.error_line


def test_b16_the_guest_is_asked_to_shut_down_and_never_destroyed_by_us(site: Site, proxy: Proxy) -> None:
    """The host's driver destroys a guest that ignores ACPI; that cannot be provoked on the sandbox. What is ours: the
    plain poweroff is asked for, never poweroff-hard, and a guest that does not go down in time fails the backup."""
    vm_id = machines.machine(site, (Disk(4),), guest=True)
    site.configure(timeouts={"power_off_s": 0.5})
    site.front_end.control("slow", what="poweroff", seconds=1.5)
    failed(site.onebackup("backup", vm_id), "did not power off within 0.5 s", f"VM {vm_id} is RUNNING")
    assert {call for call in proxy.calls if call.startswith("one.vm.action")} == {
        "one.vm.action poweroff", "one.vm.action resume"}  # fmt: skip


def test_b17_a_cd_rom_is_referenced_not_uploaded(site: Site) -> None:
    vm_id = machines.machine(site, (Disk(1), Disk(1, kind="CDROM")))
    cdrom = site.info("vm", vm_id).findtext("TEMPLATE/DISK[TYPE='CDROM']/IMAGE_ID")
    assert len(checks.backed_up(site, vm_id)) == 2
    assert len(list(site.server.public_dir.iterdir())) == 1
    new = site.info("vm", checks.restored(site.onebackup("restore", vm_id, "-d", "default")))
    assert new.findtext("TEMPLATE/DISK[TYPE='CDROM']/IMAGE_ID") == cdrom


def test_b18_an_app_is_never_deleted_while_it_is_uploaded(site: Site) -> None:
    """Two uploads, one fails at once, the other still runs: its file must not stay behind for ever."""
    vm_id = machines.machine(site, TWO_DISKS)
    before = site.everything()
    site.front_end.control("slow", what="import", seconds=0.7)
    site.front_end.control("next", what="import", result="fail")
    failed(site.onebackup("backup", vm_id))
    time.sleep(0.8)
    checks.undone(site, before, vm_id)
    assert list(site.server.public_dir.iterdir()) == []
    log = (site.front_end.state / "log" / "oned.log").read_text()
    assert str(site.server.public_dir) not in "".join(line for line in log.splitlines() if "manually remove" in line)


def test_b19_what_came_down_is_compared_with_what_was_stored(site: Site) -> None:
    vm_id = machines.machine(site, (Disk(1, random=True),))
    apps = checks.backed_up(site, vm_id)
    stored = site.stored_file(apps[0])
    stored.write_bytes(b"x" * stored.stat().st_size)
    result = site.onebackup("restore", vm_id, "-d", "default", "--logger", site.folder / "log")
    assert result.code == 1 and "MD5" in result.error_line


def test_b19_what_was_stored_is_compared_with_what_was_saved(site: Site, proxy: Proxy) -> None:
    """The marketplace stored something else than it says: noticed before the older backup goes."""
    vm_id = machines.machine(site, (Disk(1, random=True),))
    apps = checks.backed_up(site, vm_id)

    def damage() -> None:
        new = max(site.apps())
        wait("the upload", lambda: site.info("marketapp", new).findtext("STATE") == "1")
        path = site.stored_file(new)
        path.write_bytes(path.read_bytes()[:-1] + b"!")

    proxy.at("one.marketapp.allocate", damage, when="after")
    failed(site.onebackup("backup", vm_id, "--force"), "MD5")
    assert site.apps() == apps == site.recorded(vm_id)
    assert len(list(site.server.public_dir.iterdir())) == 1


def test_b20_a_resume_that_is_refused_is_tried_again_and_never_waited_for_for_ever(site: Site) -> None:
    vm_id = machines.machine(site)
    site.front_end.control("fail", method="one.vm.action", nth=2, code=2048, message="busy")
    failed(site.onebackup("backup", vm_id), f"VM {vm_id} is RUNNING")
    assert site.vm_state(vm_id) == machines.RUNNING

    site.front_end.control("fail", method="one.vm.action", nth=2, code=2048, message="busy", times=100)
    result = site.onebackup("backup", vm_id)
    assert result.code == 4
    assert re.search(rf"to put it right: onevm resume {vm_id} && onebackup recover$", result.err.strip()), result.err
    site.front_end.control("clear")
    site.call("one.vm.action", "resume", vm_id)
    machines.await_state(site, vm_id, machines.RUNNING)
    assert site.onebackup("recover").code == 0
    assert site.journals() == []
    with pytest.raises(Refused):
        site.call("one.vm.action", "resume", vm_id)
