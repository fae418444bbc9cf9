# SPDX-License-Identifier: Apache-2.0
"""Disk images as files, all through qemu-img with explicit formats.

Every file is written next to its destination and renamed when complete, so a killed sandbox leaves no
half image under a final name. Errors are DiskError with one line of reason.
"""
from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from sandbox.world import qcow2

FORMATS = ("raw", "qcow2")
_TIMEOUT_S = 600


class DiskError(Exception):
    """A disk operation failed; the text is one line and names the file."""


@dataclass(frozen=True)
class DiskInformation:
    """Facts of an image file. `size_mb` is the virtual size rounded up, as OpenNebula counts."""

    format: str
    virtual_size_bytes: int
    file_size_bytes: int
    backing_file: Optional[Path]

    @property
    def size_mb(self) -> int:
        return -(-self.virtual_size_bytes // 2**20)


def information(path: Path, format: Optional[str] = None) -> DiskInformation:
    """Return the facts of an image, also of one that a guest has open. Without `format` it is detected."""
    options = ["-f", _checked(format)] if format else []
    shown = json.loads(_qemu_img("info", "-U", "--output=json", *options, str(path.absolute())))
    backing = shown.get("full-backing-filename")
    return DiskInformation(
        format=shown["format"],
        virtual_size_bytes=shown["virtual-size"],
        file_size_bytes=path.stat().st_size,
        backing_file=Path(backing) if backing else None,
    )


def create(path: Path, size_mb: int, format: str) -> None:
    """Make an empty (sparse) image of `size_mb`."""
    with _published(path) as partial:
        _qemu_img("create", "-q", "-f", _checked(format), str(partial.absolute()), f"{size_mb}M")


def import_image(source: Path, destination: Path, format: str) -> None:
    """Copy an image file byte for byte, as fs/cp does with a local path; `format` must be what it is."""
    found = information(source, format).format
    if found != format:
        raise DiskError(f"{source} is {found}, not {format}")
    with _published(destination) as partial:
        _copy_file(source, partial)


def deploy(source: Path, destination: Path, format: str) -> None:
    """Give a VM its own copy of an image: a qcow2 overlay on it, or a sparse copy of a raw one."""
    with _published(destination) as partial:
        if _checked(format) == "qcow2":
            base = str(source.resolve())
            _qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, str(partial.absolute()))
        else:
            _copy_file(source, partial)


def link(source: Path, destination: Path) -> None:
    """Attach a persistent image: a symbolic link that replaces whatever was at `destination`."""
    with _published(destination) as partial:
        partial.symlink_to(source.resolve())


def resize(disk: Path, size_mb: int, format: str) -> None:
    """Grow a disk; a guest that uses it stalls meanwhile."""
    with _guest_stalled(disk):
        _qemu_img("resize", "-q", "-f", _checked(format), str(disk.resolve()), f"{size_mb}M")


def save_as(disk: Path, destination: Path, format: str, source_format: Optional[str] = None) -> None:
    """Copy what the guest sees into a new flat image.

    No lock is taken: of a disk that a guest is writing to the copy is torn, as on a real host.
    `source_format` is the disk's own format where it differs from the wanted one.
    """
    with _published(destination) as partial:
        _convert(disk, source_format or format, partial, format)


def live_save_as(disk: Path, destination: Path, format: str, source_format: Optional[str] = None) -> None:
    """Copy a disk under a running guest: consistent as after a power cut, the guest stalls meanwhile."""
    with _guest_stalled(disk), _published(destination) as partial:
        _convert(disk, source_format or format, partial, format)


def snapshot(disk: Path, snapshot_id: int) -> None:
    """Keep the disk's present state as DISK.snap/ID; safe while a guest runs (it stalls meanwhile)."""
    place = snapshot_path(disk, snapshot_id)
    place.parent.mkdir(exist_ok=True)
    with _guest_stalled(disk), _published(place) as partial:
        _copy_file(disk.resolve(), partial)


def snapshot_path(disk: Path, snapshot_id: int) -> Path:
    """Return where a snapshot of a disk is kept."""
    return disk.with_name(f"{disk.name}.snap") / str(snapshot_id)


def save_snapshot_as(disk: Path, snapshot_id: int, destination: Path, format: str) -> None:
    """Copy the guest-visible content of a snapshot into a new flat image."""
    save_as(_existing_snapshot(disk, snapshot_id), destination, format)


def delete_snapshot(disk: Path, snapshot_id: int) -> None:
    """Forget a snapshot; the disk is not touched."""
    _existing_snapshot(disk, snapshot_id).unlink()


def revert_snapshot(disk: Path, snapshot_id: int) -> None:
    """Put the disk (through a persistent disk's link: the image) back to a snapshot. No guest may run."""
    saved = _existing_snapshot(disk, snapshot_id)
    with _published(disk.resolve()) as partial:
        _copy_file(saved, partial)


def content_sha256(path: Path, format: str) -> str:
    """Return the SHA-256 of the guest-visible content, equal for every format that holds the same."""
    if _checked(format) == "raw":
        return _file_sha256(path)
    with _published(path.with_name(f".{path.name}.content-{os.getpid()}"), keep=False) as flat:
        _convert(path, format, flat, "raw")
        return _file_sha256(flat)


def _existing_snapshot(disk: Path, snapshot_id: int) -> Path:
    saved = snapshot_path(disk, snapshot_id)
    if not saved.exists():
        raise DiskError(f"{disk} has no snapshot {snapshot_id}")
    return saved


@contextmanager
def _published(destination: Path, keep: bool = True) -> Iterator[Path]:
    partial = destination.with_name(f"{destination.name}.{os.urandom(4).hex()}.partial")
    try:
        yield partial
        if keep:
            os.replace(partial, destination)
    except OSError as error:
        raise DiskError(f"cannot write {destination}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _guest_stalled(disk: Path) -> Iterator[None]:
    """Hold the lock that a guest takes around each write to this disk."""
    try:
        descriptor = os.open(disk, os.O_RDONLY)
    except OSError as error:
        raise DiskError(f"cannot open {disk}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _convert(source: Path, source_format: str, destination: Path, format: str) -> None:
    formats = ["-f", _checked(source_format), "-O", _checked(format)]
    _qemu_img("convert", "-q", "-U", *formats, str(source.absolute()), str(destination.absolute()))


def _copy_file(source: Path, destination: Path) -> None:
    _run(["cp", "--sparse=always", "--reflink=auto", "--", str(source.absolute()), str(destination.absolute())])


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _checked(format: str) -> str:
    if format not in FORMATS:
        raise DiskError(f"unknown image format {format!r}")
    return format


def _qemu_img(*arguments: str) -> str:
    return _run(["qemu-img", *arguments])


def _run(argv: list[str]) -> str:
    if shutil.which(argv[0]) is None:
        raise DiskError(f"{argv[0]} is not installed (Debian package {qcow2.DEBIAN_PACKAGE})")
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise DiskError(f"{' '.join(argv)} took more than {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        raise DiskError(" ".join(done.stderr.split()) or f"{argv[0]} exited with {done.returncode}")
    return done.stdout
