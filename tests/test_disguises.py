# SPDX-License-Identifier: Apache-2.0
"""What OpenNebula would take a raw disk for: held against the programs it asks."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from onebackup_driver import disguises


def tar(format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        archive.addfile(tarfile.TarInfo("file"))
    return buffer.getvalue()


def old_tar() -> bytes:
    """As tar wrote it before POSIX: no magic, only the sum."""
    header = bytearray(tar(tarfile.USTAR_FORMAT)[:512])
    header[257:512] = bytes(255)
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    return bytes(header) + bytes(1024)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("file", "content")
    return buffer.getvalue()


PACKED = {
    "gzip": gzip.compress(b"disk"),
    "bzip2": bz2.compress(b"disk"),
    "xz": lzma.compress(b"disk"),
    "zip": zipped(),
    "tar": tar(tarfile.GNU_FORMAT),
}


@pytest.mark.parametrize("kind", PACKED)
def test_packed(kind: str) -> None:
    assert disguises.packed(PACKED[kind] + bytes(512)) == kind
    assert disguises.image(PACKED[kind]) == ""


@pytest.mark.parametrize("content", [tar(tarfile.PAX_FORMAT), tar(tarfile.USTAR_FORMAT), old_tar()])
def test_every_kind_of_tar(content: bytes) -> None:
    assert disguises.packed(content[: disguises.HEAD_BYTES]) == "tar"


@pytest.mark.parametrize("kind", ["qcow2", "qed", "vmdk", "vhdx", "vpc", "vdi", "parallels", "luks"])
def test_images_as_qemu_makes_them(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    secret = ["--object", "secret,id=key,data=marker", "-o", "key-secret=key,iter-time=10"] if kind == "luks" else []
    made = subprocess.run(["qemu-img", "create", "-q", "-f", kind, *secret, str(path), "4M"], capture_output=True)
    if made.returncode:
        pytest.skip(f"this qemu-img makes no {kind}")
    assert disguises.image(path.read_bytes()[: disguises.HEAD_BYTES]) == kind


@pytest.mark.parametrize("content", [b"", b"\0" * 512, b"\xeb\x63\x90" + b"\0" * 509, b"BZ", b"hello " * 100])
def test_ordinary_disks(content: bytes) -> None:
    assert (disguises.packed(content), disguises.image(content)) == ("", "")
