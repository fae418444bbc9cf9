# SPDX-License-Identifier: Apache-2.0
"""What is on a disk: the sha256 of everything a guest sees, and of the part that no guest writes to."""
from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sandbox.world import disks, guest_records

MIB = 2**20


@dataclass(frozen=True)
class Content:
    """Digests of one disk: `everything`, and `files`, which is all but the guest's own area at the end."""

    size_mb: int
    everything: str
    files: str


def make_disk(path: Path, name: str, size_mb: int, format: str) -> Content:
    """Write an image with random data, holes and a readable first line; return what is in it."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        raw = Path(folder) / "raw"
        with open(raw, "wb") as file:
            file.truncate(size_mb * MIB)
            for start_mb in range(0, size_mb - 4, 8):  # every other 4 MiB stay a hole
                file.seek(start_mb * MIB)
                file.write(os.urandom(4 * MIB))
            file.seek(0)
            file.write(f"onebackup demonstration, disk {name}\n".encode())
        disks.save_as(raw, path, format, source_format="raw")
        return digest(raw)


def write_files(path: Path, format: str, size_mb: int) -> None:
    """Write random data into an image that no guest uses, into the first hole that `make_disk` left and behind it."""
    with tempfile.NamedTemporaryFile() as new:
        new.write(os.urandom(size_mb * MIB))
        new.flush()
        subprocess.run(
            ["qemu-io", "-f", format, "-c", f"write -q -s {new.name} 5M {size_mb}M", str(path)], check=True
        )


def content(path: Path, format: str) -> Content:
    """Digest what a guest sees in an image, whatever its format."""
    with tempfile.TemporaryDirectory(prefix="onebackup-demo-", dir="/var/tmp") as folder:
        raw = Path(folder) / "raw"
        disks.save_as(path, raw, "raw", source_format=format)
        return digest(raw)


def digest(raw: Path) -> Content:
    size = raw.stat().st_size
    everything, files = hashlib.sha256(), hashlib.sha256()
    position = 0
    with open(raw, "rb") as file:
        while block := file.read(MIB):
            everything.update(block)
            files.update(block[: max(0, size - guest_records.RESERVED_BYTES - position)])
            position += len(block)
    return Content(size // MIB, everything.hexdigest(), files.hexdigest())
