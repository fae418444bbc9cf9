# SPDX-License-Identifier: Apache-2.0
"""The MD5 comes from the image, but only from what was saved of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from onebackup_driver.gateway import checksum
from onebackup_driver.gateway.content import Content, Disk, Readers
from onebackup_driver.market import rereading
from onebackup_driver.repository import problems, repository, source
from onebackup_driver.repository.manifests import Loaded
from onebackup_driver.repository.stores.directory import DirectoryStore
from tests.repository import disks
from tests.repository.disks import BLOCK, CELL


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Data, a hole, zeros that are written, and an end within a block."""
    path = tmp_path / "disk.raw"
    with open(path, "wb") as stream:
        stream.write(disks.content(2.3))
        stream.seek(9 * CELL + 5000)
        stream.write(disks.content(1, seed=3) + bytes(CELL) + disks.content(0.2, seed=4)[:-77])
    return path


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_it_is_that_of_what_is_served(small_one: repository.Repository, image: Path, kind: str) -> None:
    with source.open_image(image, "raw") as opened:
        point = small_one.save(opened, opened.size_bytes)
        loaded = small_one.cells(point.name)
        again = checksum.md5(Content(rereading.SourceDisk(small_one, loaded, opened), kind))
    served = Content(Disk(Readers(), small_one, point.name, loaded, point.size_bytes), kind)
    buffer = memoryview(bytearray(CELL))
    content = b"".join(bytes(part) for job in served.jobs() for part in served.carry_out(job, buffer))
    assert again == hashlib.md5(content).hexdigest()
    assert kind == "qcow2" or content == image.read_bytes()


@pytest.mark.parametrize("place", [0, 2 * CELL + BLOCK, 9 * CELL + 6000])
def test_an_image_that_changes_between_is_noticed(
    small_one: repository.Repository, image: Path, place: int
) -> None:
    """Also when its times say nothing, as those of a block device."""
    before = image.stat()
    with source.open_image(image, "raw") as opened:
        loaded: list[Loaded] = []
        small_one.save(opened, opened.size_bytes, complete=lambda saved: loaded.append(saved) or {})  # type: ignore
        with open(image, "r+b") as stream:
            stream.seek(place)
            stream.write(b"another")
        os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(problems.SourceChanged, match="changed"):
            checksum.md5(Content(rereading.SourceDisk(small_one, loaded[0], opened), "qcow2"))


@pytest.fixture
def small_one(tmp_path: Path) -> repository.Repository:
    return repository.create(DirectoryStore(tmp_path / "repository"), disks.SMALL)
