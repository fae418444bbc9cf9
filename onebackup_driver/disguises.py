# SPDX-License-Identifier: Apache-2.0
"""Raw disks that begin like something else. Guests write them, and OpenNebula believes the first bytes.

downloader.sh unpacks what `file` takes for gzip, bzip2, xz, tar or zip unless the datastore has NO_DECOMPRESS="yes"
(6.0-7.4, get_decompressor and unarchive); fs/export and fs/cp ask qemu-img for the format without naming one.
"""

from __future__ import annotations

#: All that is looked at lies in the first bytes.
HEAD_BYTES = 512

_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip"}
_IMAGES = {
    b"QFI\xfb": "qcow2",
    b"QED\0": "qed",
    b"KDMV": "vmdk",
    b"COWD": "vmdk",
    b"# Disk DescriptorFile": "vmdk",
    b"vhdxfile": "vhdx",
    b"conectix": "vpc",
    b"LUKS\xba\xbe": "luks",
    b"WithoutFreeSpace": "parallels",
    b"WithouFreSpacExt": "parallels",
    b"Bochs Virtual HD Image": "bochs",
}
_VDI_AT, _VDI = 64, b"\x7f\x10\xda\xbe"
_TAR_AT, _TAR = 257, b"ustar"
_TAR_SUM = slice(148, 156)


def packed(head: bytes) -> str:
    """What downloader.sh would unpack a raw disk as: gzip, bzip2, xz, zip, tar; empty for nothing of these."""
    if head[_TAR_AT:].startswith(_TAR) or _is_old_tar(head):
        return "tar"
    return _begins(head, _PACKED)


def image(head: bytes) -> str:
    """The image format that qemu-img would guess for a raw disk; empty for raw."""
    if head[_VDI_AT:].startswith(_VDI):
        return "vdi"
    return _begins(head, _IMAGES)


def _begins(start: bytes, known: dict[bytes, str]) -> str:
    return next((name for magic, name in known.items() if start.startswith(magic)), "")


def _is_old_tar(start: bytes) -> bool:
    """tar before POSIX has no magic; `file` adds up the header, the field of its sum counted as spaces."""
    if len(start) < HEAD_BYTES or not start[0]:
        return False
    written = start[_TAR_SUM].strip(b" \0")
    if not written or any(digit not in b"01234567" for digit in written):
        return False
    return int(written, 8) == sum(start[:148]) + 8 * ord(" ") + sum(start[156:HEAD_BYTES])
