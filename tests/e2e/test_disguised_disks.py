# SPDX-License-Identifier: Apache-2.0
"""Raw disks that begin like something else: what the guest wrote comes back, or nobody is told that it would."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import checks, machines
from tests.e2e.depot import Depot
from tests.e2e.site import Site, unique, wait

PACKED = gzip.compress(b"a guest wrote this to the start of its disk" * 100)


@pytest.fixture
def depot(site: Site, tmp_path: Path) -> Iterator[Depot]:
    made = Depot(site, f"dir:{tmp_path / 'repository'}")
    yield made
    made.stop_gateway()


@pytest.fixture
def datastore(site: Site) -> int:
    """One that keeps raw images raw; a TM_MAD of qcow2 makes all of them qcow2."""
    text = f'NAME="{unique("raw")}"\nDS_MAD="fs"\nTM_MAD="ssh"'
    return int(site.call("one.datastore.allocate", text, 0))


def written(site: Site, datastore: int, content: bytes, backup: str) -> int:
    """A VM that is off, whose raw disk begins with `content`."""
    text = f'NAME="{unique("disk")}"\nTYPE="DATABLOCK"\nPERSISTENT="YES"\nSIZE="4"\nFORMAT="raw"'
    image = int(site.call("one.image.allocate", text, datastore))
    wait("the image", lambda: site.info("image", image).findtext("STATE") == "1")
    vm_id = machines.machine(site, [], machines.POWEROFF, backup=backup, more=f'DISK=[IMAGE_ID="{image}"]')
    [disk] = machines.vm_disks(site, vm_id)
    assert disk.format == "raw"
    with disk.path.open("r+b") as stream:
        stream.write(content)
    return vm_id


def the_same(site: Site, restored: int, vm_id: int) -> bool:
    return machines.contents(checks.image_disks(site, restored)) == machines.contents(machines.vm_disks(site, vm_id))


def test_a_stock_marketplace_says_where_it_can_be_restored(site: Site, datastore: int) -> None:
    vm_id = written(site, datastore, PACKED, 'FREQUENCY_SECONDS="86400"')
    made = site.onebackup("backup", vm_id)
    assert made.code == 0 and "begins like a gzip file" in made.err
    before = site.everything()
    refused = site.onebackup("restore", vm_id, "-d", datastore, "--no-start")
    assert refused.code != 0 and f"onedatastore update {datastore}" in refused.err and site.everything() == before
    site.call("one.datastore.update", datastore, 'NO_DECOMPRESS="YES"', 1)
    back = checks.restored(site.onebackup("restore", vm_id, "-d", datastore, "--no-start"))
    assert the_same(site, back, vm_id)


def foreign_header(tmp_path: Path) -> bytes:
    path = tmp_path / "header"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1G"], check=True)
    return path.read_bytes()


@pytest.mark.parametrize("packed", [True, False])
def test_our_driver_gives_them_back(site: Site, depot: Depot, datastore: int, tmp_path: Path, packed: bool) -> None:
    content = PACKED if packed else foreign_header(tmp_path)
    vm_id = written(site, datastore, content, f'FREQUENCY_SECONDS="86400", MARKETPLACE_ID="{depot.market}"')
    image_app, _ = checks.backed_up(site, vm_id)
    assert site.info("marketapp", image_app).findtext("FORMAT") == "qcow2"
    back = checks.restored(site.onebackup("restore", vm_id, "-d", datastore, "--no-start"))
    assert the_same(site, back, vm_id)
