# SPDX-License-Identifier: Apache-2.0
"""Backups as an admin makes them, on real disks."""

from __future__ import annotations

import re

import pytest

from sandbox.world import guest
from tests.e2e import checks, machines
from tests.e2e.machines import TWO_DISKS, Disk
from tests.e2e.proxy import Proxy
from tests.e2e.site import Site, wait


@pytest.mark.both_versions
def test_a_running_vm_is_backed_up_terminated_and_restored(site: Site) -> None:
    vm_id = machines.machine(site, machines.GUEST_DISKS, guest=True)
    files = [content.files for content in machines.contents(machines.vm_disks(site, vm_id))]

    done = checks.good(site.onebackup("backup", vm_id, "-v"))

    assert site.vm_state(vm_id) == machines.RUNNING
    assert re.search(r"VM was down for \d+\.\d s", done.out)
    apps = site.recorded(vm_id)
    assert apps == site.apps() and len(apps) == 3
    stored = machines.stored_disks(site, apps[:-1])
    evidence = guest.inspect(stored)
    assert evidence.consistent, evidence
    saved, counter = machines.contents(stored), evidence.counters[0] or 0
    assert [content.files for content in saved] == files
    machines.await_guest(site, vm_id, counter + 1)  # it went on while its disks were uploaded, and after

    machines.bring_to(site, vm_id, machines.DONE)
    new_id = checks.restored(site.onebackup("restore", vm_id, "-d", "default", "--no-start"))

    assert site.vm_state(new_id) == machines.HOLD
    assert machines.contents(checks.image_disks(site, new_id)) == saved
    site.call("one.vm.action", "release", new_id)
    machines.await_state(site, new_id, machines.RUNNING)
    machines.await_guest(site, new_id, counter + 1)


def test_the_log_has_the_stock_lines_in_the_stock_order(site: Site) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    out = checks.good(site.onebackup("backup", vm_id, "-v")).out
    image_app, other_app, vm_app = site.recorded(vm_id)
    stock = [
        f"VM {vm_id}: Backup", "Saving VM as template", "Powering off VM", "Processing VM disks",
        "Adding and saving regular disk", "Adding and saving regular disk", "Processing VM NICs",
        "Updating VM Template", "Powering on VM", f"to marketplace {site.market}", "Processing VM disks",
        "Adding disk with image", "Importing image to market place", "Adding disk with image",
        "Importing image to market place", "Processing VM NICs", "Creating VM app", "Waiting for image upload",
        f"Imported app ids: {image_app},{other_app},{vm_app}", "Deleting template",
    ]  # fmt: skip
    lines = iter(out.splitlines())
    for text in stock:
        assert any(text in line for line in lines), f"{text!r} is not where it belongs in:\n{out}"
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO  : ", out.splitlines()[1])


def test_the_second_backup_replaces_the_first(site: Site) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    first = checks.backed_up(site, vm_id)
    files = [site.stored_file(number) for number in first[:-1]]
    machines.make_due(site, vm_id)

    second = checks.backed_up(site, vm_id)

    assert site.apps() == second and not set(first) & set(second)
    wait("the driver to delete the old files", lambda: not any(path.exists() for path in files))
    assert len(list(site.server.public_dir.iterdir())) == 2
    assert site.user_template(vm_id, "ONEBACKUP/STATE") == "OK"
    assert site.user_template(vm_id, "ONEBACKUP/RESTORE_POINT") == str(second[-1])


def test_keep_backup_keeps_it_for_good(site: Site) -> None:
    vm_id = machines.machine(site)
    first = checks.backed_up(site, vm_id)
    second = checks.backed_up(site, vm_id, "--force", "--keep-backup")
    third = checks.backed_up(site, vm_id, "--force")

    assert site.apps() == [*first, *third], f"the second, {second}, is replaced, the first was kept on purpose"
    kept = [(item["id"], item["kept"]) for item in checks.listed(site, vm_id)]
    assert kept == [(first[-1], True), (third[-1], False)]


def test_a_oneshot_records_nothing_and_deletes_nothing(site: Site) -> None:
    vm_id = machines.machine(site)
    first = checks.backed_up(site, vm_id)
    before = checks.user_attributes(site, vm_id)
    other = site.make_market()

    checks.good(site.onebackup("backup", vm_id, "--oneshot", "--market", other))

    assert checks.user_attributes(site, vm_id) == before
    new = sorted(set(site.apps()) - set(first))
    assert set(first) < set(site.apps()) and len(new) == 2
    assert {site.info("marketapp", number).findtext("MARKETPLACE_ID") for number in new} == {str(other)}
    later = checks.backed_up(site, vm_id, "--force")
    assert set(site.apps()) == {*new, *later}, "a oneshot is not the VM's own backup: retention leaves it alone"


def test_a_oneshot_of_a_vm_without_backup(site: Site) -> None:
    vm_id = machines.machine(site, backup="-")
    checks.good(site.onebackup("backup", vm_id, "--oneshot", "--market", site.market))
    assert len(site.apps()) == 2
    assert site.info("vm", vm_id).find("USER_TEMPLATE/BACKUP") is None
    assert site.info("vm", vm_id).find("USER_TEMPLATE/ONEBACKUP") is None


def test_a_dry_run_says_what_would_be_done_and_only_reads(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, TWO_DISKS, more='DISK=[TYPE="fs",SIZE="1",FORMAT="raw"]')
    before = site.everything()

    out = checks.good(site.onebackup("backup", vm_id, "--dry-run")).out

    assert proxy.calls and proxy.changing_calls() == []
    for words in ("is RUNNING", "save 2 disk(s): 1, 2",
                  "would not save disk", f"into marketplace {site.market}", "delete the restore point"):  # fmt: skip
        assert words in out, out
    checks.undone(site, before, vm_id)


def test_not_due_is_one_line_with_the_time_and_touches_nothing(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    apps = checks.backed_up(site, vm_id)
    proxy.calls.clear()

    for options in ((), ("-v",), ("--dry-run",)):
        out = checks.good(site.onebackup("backup", vm_id, *options)).out
        line = out.splitlines()[-1]
        when = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
        assert re.fullmatch(rf"VM {vm_id}: not due until {when} \(.+\); .*--force.*", line), out
    assert proxy.changing_calls() == [] and site.apps() == apps
    assert checks.backed_up(site, vm_id, "--force") != apps


def test_the_log_goes_where_it_is_wanted(site: Site) -> None:
    vm_id = machines.machine(site)
    quiet = checks.good(site.onebackup("backup", vm_id, "--logger", site.folder / "log"))
    assert quiet.out.count("\n") == 1 and "restore point" in quiet.out
    assert "INFO  : Powering off VM" in (site.folder / "log").read_text()


def test_progress_is_shown_on_the_vm_and_ok_only_at_the_end(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, TWO_DISKS)
    seen: list[tuple[str, str]] = []

    def look() -> None:
        element = site.info("vm", vm_id)
        seen.append((element.findtext("USER_TEMPLATE/ONEBACKUP/STATE", ""),
                     element.findtext("USER_TEMPLATE/ONEBACKUP/PROGRESS", "")))  # fmt: skip

    for call in ("one.vm.disksaveas", "one.marketapp.allocate", "one.template.delete", "one.image.delete"):
        proxy.at(call, look)
    checks.backed_up(site, vm_id)
    assert seen[0] == ("RUNNING", "saving the disks") and seen[1] == ("RUNNING", "uploading 2 disk(s)")
    assert {state for state, _ in seen} == {"RUNNING"} and len(seen) == 4
    assert site.user_template(vm_id, "ONEBACKUP/STATE") == "OK"


@pytest.mark.both_versions
def test_volatile_disks_cd_roms_and_excluded_disks(site: Site) -> None:
    vm_id = machines.machine(
        site, (Disk(2), Disk(1, kind="CDROM"), Disk(3)), backup='FREQUENCY_SECONDS="86400",EXCLUDE_DISKS="3"',
        more='DISK=[TYPE="fs",SIZE="2",FORMAT="raw",DEV_PREFIX="vd"]',
    )  # fmt: skip
    kinds = [disk.findtext("TYPE") for disk in site.info("vm", vm_id).findall("TEMPLATE/DISK")]
    assert kinds == ["fs", "FILE", "CDROM", "FILE"]
    cdrom = site.info("vm", vm_id).findtext("TEMPLATE/DISK[TYPE='CDROM']/IMAGE_ID")

    done = checks.good(site.onebackup("backup", vm_id, "-v"))

    apps = site.recorded(vm_id)
    (point,) = checks.listed(site, vm_id)
    assert len(apps) == 2 and [disk["disk_id"] for disk in point["disks"]] == [1] and point["not_saved"] == [0, 3]
    assert checks.tags(site, apps[-1])["NOT_SAVED"] == site.user_template(vm_id, "ONEBACKUP/NOT_SAVED") == "0,3"
    assert "Disk 0 is not saved: volatile" in done.out and "Disk 3 is not saved: excluded" in done.out
    assert "not saved: disk 0,3" in done.out.splitlines()[-1]

    back = site.onebackup("restore", vm_id, "-d", "default")

    empty, saved, referenced = site.info("vm", checks.restored(back)).findall("TEMPLATE/DISK")
    assert [empty.findtext(key) for key in ("SIZE", "TYPE", "DEV_PREFIX")] == ["2", "fs", "vd"]
    assert empty.find("IMAGE_ID") is None and saved.findtext("SIZE") == "2"
    assert referenced.findtext("IMAGE_ID") == cdrom
    assert "Disk 3 was not saved and does not come back" in back.out
    assert "Disk 0 was volatile: it is made anew, empty" in back.out


def test_list_shows_the_restore_points(site: Site) -> None:
    vm_id = machines.machine(site, TWO_DISKS, name="web one")
    assert f"no restore points of VM {vm_id}" in checks.good(site.onebackup("list", vm_id)).out
    apps = checks.backed_up(site, vm_id)

    table = checks.good(site.onebackup("list", vm_id)).out
    assert "ID" in table.splitlines()[0] and re.search(rf"\b{apps[-1]}\b.*web one.*POWEROFF.*good", table)
    (point,) = checks.listed(site, vm_id)
    assert (point["id"], point["vm_id"], point["vm_name"]) == (apps[-1], vm_id, "web one")
    assert [disk["app_id"] for disk in point["disks"]] == apps[:-1]
    assert (point["size_mb"], point["consistency"], point["problems"]) == (3, "OFF", [])
    assert point["id"] in [item["id"] for item in checks.listed(site)]
    site.call("one.marketapp.delete", apps[0])
    assert "is gone" in checks.listed(site, vm_id)[0]["problems"][0]
