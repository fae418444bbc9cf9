# SPDX-License-Identifier: Apache-2.0
"""Images whose headers lie."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

MIB = 1024 * 1024
CLUSTER = 65536


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


def good(path: Path, size: str = "8M") -> Path:
    """An honest qcow2 image with some data."""
    qemu_img("create", "-q", "-f", "qcow2", path, size)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 1M", str(path)], check=True, capture_output=True)
    return path


def over(path: Path, backing: str, backing_format: str = "raw") -> Path:
    """A qcow2 image that says to lie over `backing`, which need not be there."""
    qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", backing_format, "-b", backing, path, "1M")
    return path


def patched(path: Path, offset: int, kind: str, value: int) -> Path:
    """The file with one big-endian number of its header changed."""
    with open(path, "r+b") as stream:
        stream.seek(offset)
        stream.write(struct.pack(f">{kind}", value))
    return path


def with_data_file(path: Path, named: Path) -> Path:
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={path}.data", path, "1M")
    content = path.read_bytes()
    old, new = f"{path}.data".encode(), str(named).encode()
    path.write_bytes(content.replace(old, new.ljust(len(old), b"\0"), 1))
    Path(f"{path}.data").unlink()
    return path


def vmdk_over(path: Path, named: Path) -> Path:
    """A text descriptor whose only extent is another file."""
    path.write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
        f"RW 2048 FLAT \"{named}\" 0\nddb.adapterType = \"ide\"\n"
    )
    return path


def bomb(path: Path, disk_bytes: int) -> Path:
    """A compressed qcow2 image of noise that repeats itself: small, and all of its disk is data."""
    raw = path.with_suffix(".noise")
    with open(raw, "wb") as stream:
        for _ in range(disk_bytes // MIB):
            stream.write(b"\x55\xaa" * (MIB // 2))
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", raw, path)
    raw.unlink()
    return path


def shared_table(path: Path, tables: int) -> Path:
    """One L2 table for all of a large disk: every 512 MiB of it are the same, and the file stays small."""
    good(path, f"{tables * 512}M")
    with open(path, "r+b") as stream:
        stream.seek(40)
        (offset,) = struct.unpack(">Q", stream.read(8))
        stream.seek(offset)
        entry = stream.read(8)
        stream.seek(offset)
        stream.write(entry * tables)
    return path


def size_of(path: Path) -> int:
    done = subprocess.run(["qemu-img", "info", "-U", "--output=json", str(path)], check=True, capture_output=True)
    return int(json.loads(done.stdout)["virtual-size"])
