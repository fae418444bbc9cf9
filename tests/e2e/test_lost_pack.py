# SPDX-License-Identifier: Apache-2.0
"""A pack is lost that a new backup would use through recipes of another VM's: what the admin reads says what to run,
and then the next backup is good."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from onebackup_driver.units import MIB
from sandbox.world.guest import GuestDisk
from tests.e2e import checks, machines
from tests.e2e.machines import Disk
from tests.e2e.site import Site
from tests.e2e.test_onebackup_marketplace import Make, make_depot, restored_contents, section

__all__ = ["make_depot"]


def packs(folder: Path) -> set[Path]:
    return {path for path in folder.glob("packs/*/*") if path.is_file()}


def change_everywhere(disk: GuestDisk) -> None:
    """A little of each cell: none is as it was, and all have much in common with what they were."""
    words = [word for begin in range(0, 6 * MIB, MIB // 4) for word in ("-c", f"write -P 7 {begin} 4k")]
    subprocess.run(["qemu-io", "-f", disk.format, *words, str(disk.path)], check=True, capture_output=True)


def test_the_line_says_what_to_run_and_then_the_next_backup_is_good(
    site: Site, make_depot: Make, tmp_path: Path
) -> None:
    depot = make_depot(site)
    folder = Path(depot.place[len("dir:") :])
    one = machines.machine(
        site, (Disk(6, "raw", persistent=True, random=True),), machines.POWEROFF, backup=section(depot)
    )
    checks.backed_up(site, one)
    first = packs(folder)
    change_everywhere(*machines.vm_disks(site, one))
    second = checks.backed_up(site, one, "--force", "--keep-backup")
    other = checks.restored(site.onebackup("restore", one, "-d", "default", "--backup", second[-1]))
    site.call("one.vm.action", "poweroff", other)
    machines.await_state(site, other, machines.POWEROFF)
    for path in first:
        path.unlink()

    refused = site.onebackup("backup", other)
    assert refused.code == 1, refused
    told = site.user_template(other, "ONEBACKUP/MESSAGE")
    for line in (refused.error_line, told):
        assert f"onebackup repository verify {depot.market}" in line, line
    command = re.search(r"run: onebackup (repository verify \d+)", refused.error_line)
    assert command and "the next backup" in refused.error_line, refused

    verified = site.onebackup(*command[1].split())
    assert verified.code == 1 and "DAMAGED: " in verified.out, verified
    checks.backed_up(site, other)
    apps = site.recorded(other)
    assert restored_contents(site, other, apps[-1], 1) == machines.contents(machines.vm_disks(site, other))
