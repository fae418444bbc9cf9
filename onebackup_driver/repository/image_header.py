# SPDX-License-Identifier: Apache-2.0
"""What a qcow2 file says of itself, read without qemu-img (qemu's docs/interop/qcow2.txt).

Whoever uploads an image writes its header. qemu-img opens what a header names (backing file, data file) before it says
anything of it: files of oneadmin's, images of other users, FIFOs that never end. So the header is judged first, and so
is every file that it makes a part of the image; only then qemu-img sees it.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from onebackup_driver import errors
from onebackup_driver.repository import problems

_MAGIC = b"QFI\xfb"
_HEAD = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_BACKING_FORMAT, _DATA_FILE = 0xE2792ACA, 0x44415441
_CORRUPT, _EXTERNAL_DATA, _KNOWN = 1 << 1, 1 << 2, 0b11111
#: Beyond it nobody has a disk, and the tables of an empty image already take work.
LARGEST_BYTES = 64 * 1024**4
_LARGEST_L1_BYTES = 32 * 1024 * 1024
_NAME_BYTES = 1023
_READ_BYTES = 64 * 1024
_MOST_LAYERS = 200


@dataclass(frozen=True)
class Layer:
    """One qcow2 file: size of the disk, of a cluster; the file it lies over (`backing`, empty for none), its format."""

    path: Path
    size_bytes: int
    cluster_bytes: int
    backing: str
    backing_format: str


def layers(path: Path) -> list[Layer]:
    """The qcow2 layers of an image, the top one first; at the bottom there may be a raw file besides.

    A snapshot of OpenNebula's qcow2 driver lies over others in the directory `<image>.snap` (src/tm_mad/qcow2): only
    there another file may be a part of the image. Raises SourceChanged, Refused.
    """
    folder = path.parent if path.parent.suffix == ".snap" else path.with_name(f"{path.name}.snap")
    found: list[Layer] = []
    while len(found) < _MOST_LAYERS:
        layer = read(path)
        found.append(layer)
        if not layer.backing:
            return found
        path = _below(layer, folder)
        if layer.backing_format != "qcow2":
            return found
    raise errors.Refused(f"{path} lies over more than {_MOST_LAYERS} other files")


def read(path: Path) -> Layer:
    """Read and judge one header. Raises SourceChanged for what is no usable image, Refused for what is hostile."""
    start, file_bytes = _start(path)
    if len(start) < _HEAD.size or not start.startswith(_MAGIC):
        raise problems.SourceChanged(f"{path} is no qcow2 image")
    _, version, offset, length, bits, size, crypt, l1_entries, l1_offset, *_ = _HEAD.unpack_from(start)
    if version not in (2, 3) or not 9 <= bits <= 21:
        raise problems.SourceChanged(f"{path} is no qcow2 image that qemu-img could have made")
    if size > LARGEST_BYTES or 8 * l1_entries > _LARGEST_L1_BYTES:
        raise errors.Refused(f"{path} claims to be a disk of {size} bytes; more than {LARGEST_BYTES} is not believed")
    if crypt:
        raise errors.Refused(f"{path} is encrypted by qemu, its key is not known here")
    if l1_offset + 8 * l1_entries > file_bytes:
        raise problems.SourceChanged(f"{path} is cut off: its table lies behind its end")
    extensions = _extensions(path, start, version)
    return Layer(path, size, 1 << bits, _backing(path, start, offset, length), extensions.get(_BACKING_FORMAT, ""))


def _start(path: Path) -> tuple[bytes, int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            mode = os.fstat(descriptor).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                raise problems.SourceChanged(f"{path} is neither a file nor a block device")
            return stream.read(_READ_BYTES), os.lseek(descriptor, 0, os.SEEK_END)
    except OSError as error:
        raise problems.SourceChanged(f"cannot read {path}: {error.strerror}") from error


def _extensions(path: Path, start: bytes, version: int) -> dict[int, str]:
    position = _HEAD.size
    if version == 3:
        features, _, _, _, position = _features(path, start)
        if features & _EXTERNAL_DATA:
            raise errors.Refused(f"{path} keeps its data in another file")
        if features & _CORRUPT:
            raise problems.SourceChanged(f"{path} is marked as damaged")
        if features & ~_KNOWN:
            raise errors.Refused(f"{path} has features that are not known here ({features:#x})")
    found: dict[int, str] = {}
    while position + _EXTENSION.size <= len(start):
        kind, length = _EXTENSION.unpack_from(start, position)
        if kind == 0:
            break
        position += _EXTENSION.size
        found[kind] = start[position : position + min(length, _NAME_BYTES)].decode("utf-8", "replace")
        position += -(-length // 8) * 8
    if _DATA_FILE in found:
        raise errors.Refused(f"{path} keeps its data in another file: {found[_DATA_FILE]}")
    return found


def _features(path: Path, start: bytes) -> tuple[int, ...]:
    if len(start) < _HEAD.size + _FEATURES.size:
        raise problems.SourceChanged(f"{path} is cut off within its header")
    found = _FEATURES.unpack_from(start, _HEAD.size)
    if found[4] < _HEAD.size + _FEATURES.size or found[4] % 8:
        raise problems.SourceChanged(f"{path} is no qcow2 image that qemu-img could have made")
    return found


def _backing(path: Path, start: bytes, offset: int, length: int) -> str:
    if not offset:
        return ""
    name = start[offset : offset + length]
    if not 0 < length <= _NAME_BYTES or len(name) != length or b"\0" in name:
        raise errors.Refused(f"{path} names a part of it in a way that qemu-img never writes")
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise errors.Refused(f"{path} names a part of it in a way that qemu-img never writes") from None


def _below(layer: Layer, folder: Path) -> Path:
    """The file that a layer lies over, in `folder`. Raises Refused."""
    named = Path(os.path.normpath(layer.path.parent / layer.backing))
    if ":" in layer.backing.partition("/")[0] or named.parent.resolve() != folder.resolve():
        raise errors.Refused(f"{layer.path} has a part outside {folder}: {layer.backing}")
    if layer.backing_format not in ("qcow2", "raw"):
        raise errors.Refused(f"{layer.path} does not say of which format {layer.backing} is")
    try:
        mode = os.lstat(named).st_mode
    except OSError as error:
        raise problems.SourceChanged(f"{layer.path} lies over {named}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise errors.Refused(f"{layer.path} lies over {named}, which is no file")
    return named
