# SPDX-License-Identifier: Apache-2.0
"""What the demonstration takes for proven: no single byte may differ, and only a clean state counts."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sandbox.demo import comparison, proof
from sandbox.demo.comparison import NotProven, Stored
from sandbox.demo.proof import MIB
from sandbox.world import disks, guest
from sandbox.world.guest import GuestDisk


@pytest.fixture
def pair(tmp_path: Path) -> list[GuestDisk]:
    """Two disks that a guest has used and left cleanly."""
    made = []
    for name, format in (("os", "qcow2"), ("data", "raw")):
        path = tmp_path / f"{name}.{format}"
        proof.make_disk(path, name, 16, format)
        made.append(GuestDisk(path, format))
    guest.start(tmp_path / "guest", made)
    guest.stop(tmp_path / "guest")
    return made


def stored(disk: GuestDisk) -> Stored:
    return Stored(1, disk, proof.content(disk.path, disk.format))


def change_one_byte(path: Path, position: int) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 1]))


def test_content_is_the_same_in_every_format(tmp_path: Path) -> None:
    made = proof.make_disk(tmp_path / "a.qcow2", "a", 16, "qcow2")
    disks.save_as(tmp_path / "a.qcow2", tmp_path / "a.raw", "raw", source_format="qcow2")
    assert proof.content(tmp_path / "a.qcow2", "qcow2") == made
    assert proof.content(tmp_path / "a.raw", "raw") == made


def test_what_the_guest_writes_is_not_part_of_the_files(tmp_path: Path) -> None:
    disk = GuestDisk(tmp_path / "a.raw", "raw")
    before = proof.make_disk(disk.path, "a", 16, "raw")
    guest.start(tmp_path / "guest", [disk])
    guest.stop(tmp_path / "guest")
    after = proof.content(disk.path, "raw")
    assert after.files == before.files
    assert after.everything != before.everything


def test_an_equal_copy_is_accepted(pair: list[GuestDisk], tmp_path: Path) -> None:
    copy = GuestDisk(tmp_path / "copy", "raw")
    shutil.copy(pair[1].path, copy.path)
    comparison.compare_disk("data", stored(pair[1]).content, copy)


@pytest.mark.parametrize("position", [5 * MIB, 16 * MIB - 1])
def test_one_different_byte_is_found(pair: list[GuestDisk], position: int) -> None:
    before = stored(pair[1]).content
    change_one_byte(pair[1].path, position)
    with pytest.raises(NotProven, match="disk data differs from what was on it when it was saved"):
        comparison.compare_disk("data", before, pair[1])


def test_files_that_were_lost_before_the_backup_are_found(pair: list[GuestDisk]) -> None:
    originals = [stored(disk).content for disk in pair]
    change_one_byte(pair[1].path, 5 * MIB)
    with pytest.raises(NotProven, match="disk data differs from what was on it in the beginning"):
        comparison.require_clean([stored(disk) for disk in pair], originals)


def test_a_copy_of_disks_in_use_is_not_a_clean_state(pair: list[GuestDisk], tmp_path: Path) -> None:
    originals = [stored(disk).content for disk in pair]
    comparison.require_clean([stored(disk) for disk in pair], originals)
    guest.start(tmp_path / "guest", pair)
    guest.kill(tmp_path / "guest")
    with pytest.raises(NotProven, match="not one clean state"):
        comparison.require_clean([stored(disk) for disk in pair], originals)
