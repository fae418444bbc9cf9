# SPDX-License-Identifier: Apache-2.0
"""Disks that are larger than oned says: LVM rounds a volume up to its extents, and SIZE of the disk is not told."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import checks, machines
from tests.e2e.depot import Depot
from tests.e2e.machines import Disk
from tests.e2e.site import Site


@pytest.fixture
def depot(site: Site, tmp_path: Path) -> Iterator[Depot]:
    made = Depot(site, f"dir:{tmp_path / 'repository'}")
    yield made
    made.stop_gateway()


def test_a_volume_rounded_up_to_its_extents(site: Site, depot: Depot) -> None:
    section = f'FREQUENCY_SECONDS="86400", MARKETPLACE_ID="{depot.market}"'
    vm_id = machines.machine(site, [Disk(10, "raw", persistent=True, random=True)], machines.POWEROFF, backup=section)
    disk = machines.vm_disks(site, vm_id)[0]
    subprocess.run(["qemu-img", "resize", "-q", "-f", disk.format, str(disk.path), "12M"], check=True)
    app_ids = checks.backed_up(site, vm_id)
    assert site.info("marketapp", app_ids[0]).findtext("SIZE") == "12"
    back = checks.restored(site.onebackup("restore", vm_id, "-d", "default", "--no-start"))
    assert machines.contents(checks.image_disks(site, back)) == machines.contents(machines.vm_disks(site, vm_id))
