# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.world import disks

from .conftest import has_pattern, write_pattern

both_formats = pytest.mark.parametrize("format", disks.FORMATS)


@both_formats
def test_new_image_is_sparse_and_has_its_size(tmp_path: Path, format: str) -> None:
    disks.create(tmp_path / "image", 100, format)
    found = disks.information(tmp_path / "image")
    assert (found.format, found.size_mb) == (format, 100)
    assert (tmp_path / "image").stat().st_blocks * 512 < 2**20


@both_formats
def test_clone_has_the_image_s_content_and_does_not_change_the_image(tmp_path: Path, format: str) -> None:
    image, disk = tmp_path / "image", tmp_path / "disk.0"
    disks.create(image, 8, format)
    write_pattern(image, format, 0x11, 0, 2)
    before = image.read_bytes()

    disks.deploy(image, disk, format)
    write_pattern(disk, format, 0x22, 1, 2)

    assert has_pattern(disk, format, 0x11, 0, 1)
    assert has_pattern(disk, format, 0x22, 1, 2)
    assert image.read_bytes() == before


def test_persistent_disk_is_the_image_itself(tmp_path: Path) -> None:
    image, disk = tmp_path / "image", tmp_path / "disk.0"
    disks.create(image, 8, "qcow2")
    disks.link(image, disk)
    disks.link(image, disk)  # again, as after a restart
    write_pattern(disk, "qcow2", 0x33, 0, 1)
    assert has_pattern(image, "qcow2", 0x33, 0, 1)


@both_formats
def test_saved_image_stands_alone(tmp_path: Path, format: str) -> None:
    image, disk, saved = tmp_path / "image", tmp_path / "disk.0", tmp_path / "saved"
    disks.create(image, 8, format)
    write_pattern(image, format, 0x11, 0, 2)
    disks.deploy(image, disk, format)
    write_pattern(disk, format, 0x22, 1, 2)
    expected = disks.content_sha256(disk, format)

    disks.save_as(disk, saved, format)
    image.unlink()
    disk.unlink()

    assert disks.information(saved).backing_file is None
    assert disks.content_sha256(saved, format) == expected
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["saved"]


def test_content_is_the_same_in_both_formats(tmp_path: Path) -> None:
    disks.create(tmp_path / "a", 8, "qcow2")
    write_pattern(tmp_path / "a", "qcow2", 0x44, 3, 1)
    disks.save_as(tmp_path / "a", tmp_path / "b", "raw", source_format="qcow2")
    assert disks.content_sha256(tmp_path / "a", "qcow2") == disks.content_sha256(tmp_path / "b", "raw")
    write_pattern(tmp_path / "b", "raw", 0x45, 3, 1)
    assert disks.content_sha256(tmp_path / "a", "qcow2") != disks.content_sha256(tmp_path / "b", "raw")


@both_formats
def test_snapshots(tmp_path: Path, format: str) -> None:
    image, disk = tmp_path / "image", tmp_path / "disk.0"
    disks.create(image, 8, format)
    disks.deploy(image, disk, format)
    write_pattern(disk, format, 1, 0, 1)
    disks.snapshot(disk, 0)
    write_pattern(disk, format, 2, 0, 1)
    disks.snapshot(disk, 1)
    write_pattern(disk, format, 3, 0, 1)

    disks.save_snapshot_as(disk, 0, tmp_path / "saved", format)
    assert has_pattern(tmp_path / "saved", format, 1, 0, 1)
    disks.revert_snapshot(disk, 1)
    assert has_pattern(disk, format, 2, 0, 1)
    disks.delete_snapshot(disk, 0)
    with pytest.raises(disks.DiskError, match="no snapshot 0"):
        disks.revert_snapshot(disk, 0)


def test_revert_of_a_persistent_disk_changes_the_image(tmp_path: Path) -> None:
    image, disk = tmp_path / "image", tmp_path / "disk.0"
    disks.create(image, 8, "raw")
    disks.link(image, disk)
    disks.snapshot(disk, 0)
    write_pattern(image, "raw", 5, 0, 1)
    disks.revert_snapshot(disk, 0)
    assert disk.is_symlink()
    assert not any(image.read_bytes())


def test_failures_are_one_line_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no image")
    with pytest.raises(disks.DiskError) as caught:
        disks.save_as(tmp_path / "text", tmp_path / "saved", "qcow2")
    assert "\n" not in str(caught.value)
    with pytest.raises(disks.DiskError, match="No such file"):
        disks.deploy(tmp_path / "nothing", tmp_path / "disk", "raw")
    with pytest.raises(disks.DiskError, match="unknown image format 'vmdk'"):
        disks.create(tmp_path / "new", 1, "vmdk")
    with pytest.raises(disks.DiskError):
        disks.create(tmp_path / "no" / "directory", 1, "raw")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["text"]


def test_raw_content_that_looks_like_qcow2_stays_raw(tmp_path: Path) -> None:
    """A guest can write a qcow2 header into its raw disk; probing would open whatever that names."""
    inner, disk = tmp_path / "inner", tmp_path / "disk"
    disks.create(inner, 8, "qcow2")
    disks.import_image(inner, disk, "qcow2")
    os.truncate(disk, 2**20)
    disks.save_as(disk, tmp_path / "saved", "raw")
    assert (tmp_path / "saved").read_bytes() == disk.read_bytes()


def test_odd_names(tmp_path: Path) -> None:
    image = tmp_path / "a b,c:d=\"e'"
    disks.create(image, 8, "qcow2")
    disks.deploy(image, tmp_path / "json:x", "qcow2")
    disks.save_as(tmp_path / "json:x", tmp_path / "s%20 ü", "raw", source_format="qcow2")
    assert disks.information(tmp_path / "s%20 ü", "raw").size_mb == 8
