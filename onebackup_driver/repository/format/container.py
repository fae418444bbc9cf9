# SPDX-License-Identifier: Apache-2.0
"""Objects made of a few sealed sections: manifests, indexes and notes."""

from __future__ import annotations

import struct
from typing import NamedTuple

import zstandard

from onebackup_driver.repository import problems
from onebackup_driver.repository.format.vault import Vault

_HEAD = struct.Struct("<8s16s16sI")
_PLACE = struct.Struct("<QQ")
_LEVEL = 3
#: Nothing that is sealed as one section is larger; what claims to be is forged.
_LARGEST = 4 * 1024 * 1024 * 1024
#: Half of every large section are hashes: one that claims to be many times what is stored is a bomb.
_PLAIN_BYTES = 64 * 1024 * 1024
_RATIO = 100


class Places(NamedTuple):
    """Where the sections of an object lie: offset and length of each; `end` is where the head ends."""

    object_id: bytes
    sections: tuple[tuple[int, int], ...]
    end: int


def encode(magic: bytes, vault: Vault, object_id: bytes, sections: list[bytes]) -> bytes:
    """Lay out sections that are sealed already (or protect themselves) behind a head that says where they lie."""
    offset = _HEAD.size + _PLACE.size * len(sections)
    head = [_HEAD.pack(magic, vault.repository_id, object_id, len(sections))]
    for section in sections:
        head.append(_PLACE.pack(offset, len(section)))
        offset += len(section)
    return b"".join(head + sections)


def head_bytes(sections: int) -> int:
    """How long the head of an object with this many sections is."""
    return _HEAD.size + _PLACE.size * sections


def decode(magic: bytes, vault: Vault, start: bytes, sections: tuple[int, ...], name: str) -> Places:
    """Read the head from the first bytes of an object; `sections`: how many it may have. Raises Damaged."""
    if len(start) < _HEAD.size:
        raise problems.Damaged(name, "it is cut off")
    found_magic, repository_id, object_id, count = _HEAD.unpack_from(start)
    if found_magic != magic or count not in sections:
        raise problems.Damaged(name, "it is no object of this kind")
    if repository_id != vault.repository_id:
        raise problems.Damaged(name, "it belongs to another repository")
    if len(start) < head_bytes(count):
        raise problems.Damaged(name, "it is cut off")
    places = tuple(_PLACE.unpack_from(start, _HEAD.size + _PLACE.size * number) for number in range(count))
    end = head_bytes(count)
    for offset, length in places:
        if offset != end or length > _LARGEST:
            raise problems.Damaged(name, "its sections do not follow each other")
        end += length
    return Places(object_id, places, head_bytes(count))


def seal(magic: bytes, vault: Vault, object_id: bytes, section: int, data: bytes) -> bytes:
    """Compress and seal a section."""
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(data)
    return vault.seal(magic, object_id, section, packed)


def open_section(magic: bytes, vault: Vault, object_id: bytes, section: int, sealed: bytes, name: str) -> bytes:
    """Check, decrypt and decompress a section. Raises Damaged."""
    packed = vault.open(magic, object_id, section, sealed, name)
    try:
        if zstandard.frame_content_size(packed) > max(_PLAIN_BYTES, _RATIO * len(packed)):
            raise problems.Damaged(name, "a section is larger than any that is written")
        return zstandard.ZstdDecompressor().decompress(packed)
    except zstandard.ZstdError:
        raise problems.Damaged(name, "a section cannot be decompressed") from None
