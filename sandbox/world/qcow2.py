# SPDX-License-Identifier: Apache-2.0
"""Where the end of a virtual disk lies in its file.

A guest writes at the end of its disks without a qemu of its own: the clusters there are first allocated
through qemu-io, then their places in the file are looked up once. No metadata changes after that, so
qemu-img can read the same file at any time.
"""
from __future__ import annotations

import json
import os
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

DEBIAN_PACKAGE = "qemu-utils"
_TIMEOUT_S = 120


class LayoutError(Exception):
    """The file is not what its format says, or its end cannot be allocated."""


@dataclass(frozen=True)
class Extent:
    """`length` bytes that are at `offset` of the file; `start` counts from the begin of the virtual range."""

    start: int
    offset: int
    length: int


def virtual_size(path: Path, format: str) -> int:
    """Return the size in bytes of the disk that the guest sees. Raises LayoutError, OSError."""
    if format == "raw":
        return path.stat().st_size
    with open(path, "rb") as stream:
        header = stream.read(32)
    if len(header) < 32 or header[:4] != b"QFI\xfb":
        raise LayoutError(f"{path} is not a qcow2 image")
    size: int = struct.unpack_from(">Q", header, 24)[0]
    return size


def writable_extents(path: Path, format: str, start: int, length: int) -> list[Extent]:
    """Return where a virtual range lies in the file, allocating it (content kept) where it does not yet."""
    if format == "raw":
        return [Extent(0, start, length)]
    extents = _allocated(path, start, length)
    if not extents:
        _allocate(path, start, read(path, format, start, length))
        extents = _allocated(path, start, length)
    if not extents:
        raise LayoutError(f"cannot allocate the end of {path}")
    return extents


def read(path: Path, format: str, start: int, length: int) -> bytes:
    """Return a range of the guest-visible content, through all backing files."""
    if format == "raw":
        with open(path, "rb") as stream:
            stream.seek(start)
            return stream.read(length)
    disk = {"driver": format, "file": {"driver": "file", "filename": str(path.resolve())}}
    window = {"driver": "raw", "offset": start, "size": length, "file": disk}
    with tempfile.TemporaryDirectory() as directory:
        flat = Path(directory, "range")
        _run(["qemu-img", "convert", "-q", "-U", "-O", "raw", f"json:{json.dumps(window)}", str(flat)])
        return flat.read_bytes()


def read_extents(path: Path, extents: list[Extent]) -> bytes:
    """Return the bytes that lie at places found by writable_extents()."""
    with open(path, "rb") as stream:
        parts = []
        for extent in extents:
            stream.seek(extent.offset)
            parts.append(stream.read(extent.length))
    return b"".join(parts)


def _allocated(path: Path, start: int, length: int) -> list[Extent]:
    """Return the range's places in this very file, or nothing where any of it is elsewhere or a hole."""
    arguments = [f"--start-offset={start}", f"--max-length={length}", "--output=json", "-f", "qcow2"]
    shown = json.loads(_run(["qemu-img", "map", "-U", *arguments, str(path)]))
    extents = []
    for entry in shown:
        plain = entry["depth"] == 0 and entry["data"] and not entry.get("compressed") and "offset" in entry
        if not plain:
            return []
        extents.append(Extent(entry["start"] - start, entry["offset"], entry["length"]))
    return extents if sum(extent.length for extent in extents) == length else []


def _allocate(path: Path, start: int, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "range").write_bytes(content)
        command = f"write -s range {start} {len(content)}"
        _run(["qemu-io", "-f", "qcow2", "-c", command, os.path.abspath(path)], directory)


def _run(argv: list[str], directory: str | None = None) -> str:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, cwd=directory
        )
    except FileNotFoundError as error:
        raise LayoutError(f"{argv[0]} is not installed (Debian package {DEBIAN_PACKAGE})") from error
    except subprocess.TimeoutExpired as error:
        raise LayoutError(f"{argv[0]} took more than {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise LayoutError(" ".join((done.stderr or done.stdout).split()))
    return done.stdout
