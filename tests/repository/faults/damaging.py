# SPDX-License-Identifier: Apache-2.0
"""Which damage there is to each kind of object: classes of places to flip a bit at, and what is done to all of it."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from typing import Optional

from onebackup_driver.repository.format import pack

_CONTAINER = struct.Struct("<8s16s16sI")
_PLACE = struct.Struct("<QQ")


def kind_of(name: str) -> str:
    return name.partition("/")[0]


def places(name: str, content: bytes) -> dict[str, tuple[int, int]]:
    """The classes of positions in an object: begin and end of each."""
    if kind_of(name) == "packs":
        return _of_pack(content)
    if kind_of(name) == "repository.json":
        return {f"part {part}": (len(content) * part // 8, len(content) * (part + 1) // 8) for part in range(8)}
    return _of_container(content)


def _of_pack(content: bytes) -> dict[str, tuple[int, int]]:
    size, head = len(content), pack.HEAD_BYTES
    offset = struct.unpack_from("<Q", content, size - pack.TRAILER_BYTES)[0]
    trailer = size - pack.TRAILER_BYTES
    return {
        "magic": (0, 8),
        "repository id": (8, 24),
        "pack id": (24, 40),
        "first byte of a frame": (head, head + 1),
        "frame": (head, offset),
        "last byte of a frame": (offset - 1, offset),
        "first byte of the table": (offset, offset + 1),
        "table": (offset, trailer),
        "last byte of the table": (trailer - 1, trailer),
        "offset of the table": (trailer, trailer + 8),
        "length of the table": (trailer + 8, trailer + 12),
        "magic at the end": (size - 8, size),
    }


def _of_container(content: bytes) -> dict[str, tuple[int, int]]:
    count = _CONTAINER.unpack_from(content)[3]
    found = {"magic": (0, 8), "repository id": (8, 24), "object id": (24, 40), "count of sections": (40, 44)}
    for number in range(count):
        at = _CONTAINER.size + _PLACE.size * number
        begin, length = _PLACE.unpack_from(content, at)
        end = begin + length if number < count - 1 else len(content)
        found[f"place of section {number}"] = (at, at + 16)
        if end > begin:
            found[f"section {number}"] = (begin, end)
            found[f"first byte of section {number}"] = (begin, begin + 1)
            found[f"last byte of section {number}"] = (end - 1, end)
    return found


def flipped(content: bytes, begin: int, end: int, seed: int) -> bytes:
    """One bit is another one, somewhere between begin and end."""
    source, changed = random.Random(seed), bytearray(content)
    changed[source.randrange(begin, end)] ^= 1 << source.randrange(8)
    return bytes(changed)


Whole = Callable[[str, bytes, Mapping[str, bytes]], Optional[dict[str, Optional[bytes]]]]


def _one(change: Callable[[bytes], Optional[bytes]]) -> Whole:
    return lambda name, content, all_objects: {name: change(content)}


def _others(name: str, all_objects: Mapping[str, bytes]) -> list[str]:
    return sorted(other for other in all_objects if kind_of(other) == kind_of(name) and other != name)


def _exchanged(name: str, content: bytes, all_objects: Mapping[str, bytes]) -> Optional[dict[str, Optional[bytes]]]:
    others = _others(name, all_objects)
    if not others:
        return None
    other = next((item for item in others if item > name), others[0])
    return {name: all_objects[other], other: content}


def _replayed(name: str, content: bytes, all_objects: Mapping[str, bytes]) -> Optional[dict[str, Optional[bytes]]]:
    """An older one of its kind under this name."""
    others = _others(name, all_objects)
    return {name: all_objects[others[0]]} if others else None


#: What is done to whole objects; None where it does not apply.
WHOLES: dict[str, Whole] = {
    "missing": _one(lambda content: None),
    "empty": _one(lambda content: b""),
    "cut to 10 bytes": _one(lambda content: content[:10]),
    "cut to half": _one(lambda content: content[: len(content) // 2]),
    "cut by one byte": _one(lambda content: content[:-1]),
    "one byte appended": _one(lambda content: content + b"\0"),
    "itself appended": _one(lambda content: content + content),
    "zeros": _one(lambda content: bytes(len(content))),
    "exchanged with another": _exchanged,
    "an older one in its place": _replayed,
}
