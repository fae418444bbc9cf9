# SPDX-License-Identifier: Apache-2.0
"""Images of every kind are saved as what the guest sees; those that change or end early are not saved."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Optional

import pytest

from onebackup_driver import commands
from onebackup_driver.repository import problems, repository, source
from onebackup_driver.repository.stores.directory import DirectoryStore

from . import disks
from .disks import CELL

MIB = 1024 * 1024
SIZE = 3 * MIB


def guest_content() -> bytes:
    disk = bytearray(SIZE)
    disk[70_000:300_000] = disks.content(4)[:230_000]
    disk[2 * MIB : 2 * MIB + 5] = b"hello"
    disk[-3:] = b"end"
    return bytes(disk)


def qemu_img(*words: str) -> None:
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)


def make(path: Path, image_format: str, *options: str) -> Path:
    raw = path.with_suffix(".made")
    with open(raw, "wb") as stream:
        stream.truncate(SIZE)
        for place in (65_536, 2 * MIB, SIZE - 4096):
            stream.seek(place)
            stream.write(guest_content()[place : place + (250_000 if place == 65_536 else 4096)])
    qemu_img("convert", "-f", "raw", "-O", image_format, *options, str(raw), str(path))
    return path


def save_and_restore(path: Path, image_format: str, made: repository.Repository) -> bytes:
    with source.open_image(path, image_format, path.parent) as image:
        return disks.restored(made, made.save(image, image.size_bytes))


@pytest.mark.parametrize(
    "image_format, options",
    [
        ("raw", []), ("qcow2", []), ("qcow2", ["-c"]), ("qcow2", ["-o", "cluster_size=4096"]),
        ("qcow2", ["-o", "extended_l2=on,cluster_size=128k"]), ("vmdk", []), ("vdi", []),
    ],
)  # fmt: skip
def test_formats(tmp_path: Path, directory: DirectoryStore, image_format: str, options: list[str]) -> None:
    path = make(tmp_path / "disk", image_format, *options)
    made = repository.create(directory, disks.SMALL)
    content = guest_content()
    assert save_and_restore(path, image_format, made)[:SIZE] == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "disk.made", "repository"]


def test_formats_share_their_data(tmp_path: Path, directory: DirectoryStore) -> None:
    made = repository.create(directory, disks.SMALL)
    raw, qcow2 = make(tmp_path / "raw", "raw"), make(tmp_path / "qcow2", "qcow2")
    save_and_restore(raw, "raw", made)
    with source.open_image(qcow2, "qcow2") as image:
        assert made.save(image, image.size_bytes).new_bytes == 0


def test_a_chain_of_overlays(tmp_path: Path, directory: DirectoryStore) -> None:
    below = make(tmp_path / "base.qcow2", "qcow2")
    overlay = tmp_path / "overlay.qcow2"
    qemu_img("create", "-f", "qcow2", "-b", str(below), "-F", "qcow2", str(overlay))
    write = ["qemu-io", "-f", "qcow2", "-c", "write -P 0x61 1M 64k", "-c", "write -z 2M 64k", str(overlay)]
    subprocess.run(write, check=True, capture_output=True)
    expected = bytearray(guest_content())
    expected[MIB : MIB + 65536] = b"a" * 65536
    expected[2 * MIB : 2 * MIB + 65536] = bytes(65536)
    assert save_and_restore(overlay, "qcow2", repository.create(directory, disks.SMALL)) == expected


def test_holes_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with open(path, "wb") as stream:
        stream.truncate(1 << 40)
        stream.seek(1 << 39)
        stream.write(b"x" * 4096)
    with source.open_image(path, "raw") as image:
        parts = list(image)
    assert image.size_bytes == 1 << 40
    assert sum(part.length for part in parts) <= MIB and parts[0].offset <= 1 << 39


def change(path: Path) -> None:
    with open(path, "r+b") as stream:
        stream.seek(100_000)
        stream.write(b"changed")
    os.utime(path, ns=(1, 1))


def truncate(path: Path) -> None:
    os.truncate(path, 100_000)


def exchange(path: Path) -> None:
    path.rename(path.with_suffix(".old"))
    path.write_bytes(guest_content())


@pytest.mark.parametrize("harm", [change, truncate, exchange])
@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_source_that_changes_is_no_restore_point(
    tmp_path: Path, directory: DirectoryStore, harm: object, image_format: str
) -> None:
    path = make(tmp_path / "disk", image_format)
    made = repository.create(directory, disks.SMALL)
    done: list[bool] = []

    def progress(position: int, total: int) -> None:
        if not done:
            done.append(True)
            harm(path)  # type: ignore[operator]

    with source.open_image(path, image_format) as image, pytest.raises(problems.SourceChanged):
        made.save(image, image.size_bytes, progress=progress)
    assert done and made.names() == []


@pytest.mark.parametrize("content", [b"", b"QFI\xfb" + bytes(100), b"no image"])
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content)
    with pytest.raises(commands.CommandFailed):
        source.open_image(path, "qcow2")
    with pytest.raises(problems.SourceChanged):
        source.open_image(tmp_path / "nothing", "raw")


def test_small_disks(tmp_path: Path, directory: DirectoryStore, key: Optional[bytes]) -> None:
    made = repository.create(directory, disks.SMALL, key)
    for size in (0, 1, 511, CELL, CELL + 1):
        path = tmp_path / "disk"
        path.write_bytes(b"z" * size)
        assert save_and_restore(path, "raw", made) == b"z" * size


def test_what_cannot_tell_its_holes_is_data_to_its_end() -> None:
    """/proc answers EINVAL to SEEK_DATA, as block devices do: such a source must never be taken for zeros."""
    with open("/proc/cpuinfo", "rb") as stream:
        assert source._next_data(stream.fileno(), 10, 100) == (10, 100)
