# SPDX-License-Identifier: Apache-2.0
"""Indexes: where the recipe of each cell is, sorted by cell id, in buckets that are read one at a time."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from onebackup_driver.repository import problems
from onebackup_driver.repository.format import container, pack
from onebackup_driver.repository.format.vault import TAG_BYTES, Vault

PREFIX = "index/"
_MAGIC = b"OBINDX01"
_SECTIONS = 5  # head, packs, packs used by packs, ends and tags of the buckets, buckets
_NAME = re.compile(r"index/([0-9a-f]+)-([0-9a-f]+)-([0-9a-f]{32})")
_HEAD = struct.Struct("<QQB")
_RECORD = struct.Struct("<16sII")
_COUNT = struct.Struct("<I")
RECORD_BYTES = _RECORD.size
KEY_BYTES = 16
_BUCKET_RECORDS = 256


class Name(NamedTuple):
    """What an index's name says: how many cells, how many bytes are stored for them, its id."""

    cells: int
    stored_bytes: int
    object_id: bytes


class Directory(NamedTuple):
    """An index without its buckets: `packs` (entries of 36 bytes each), how many bits of an id choose the bucket,
    where each bucket ends (in cells, 4 bytes each) and its tag (16 bytes each), where the buckets begin."""

    name: str
    object_id: bytes
    packs: bytes
    bits: int
    ends: bytes
    tags: bytes
    offset: int

    def bucket_of(self, cell_id: bytes) -> int:
        return int.from_bytes(cell_id[:4], "big") >> (32 - self.bits)

    def bounds(self, bucket: int) -> tuple[int, int]:
        """Offset in the object and length of a bucket."""
        begin = _COUNT.unpack_from(self.ends, 4 * (bucket - 1))[0] if bucket else 0
        end = _COUNT.unpack_from(self.ends, 4 * bucket)[0]
        if not begin <= end <= parse_name(self.name).cells:
            raise problems.Damaged(self.name, "its buckets do not follow each other")
        return self.offset + RECORD_BYTES * begin, RECORD_BYTES * (end - begin)

    def bucket_count(self) -> int:
        return 1 << self.bits

    def check(self, vault: Vault, bucket: int, content: bytes) -> None:
        """Raises Damaged unless this is what was written as this bucket."""
        tag = self.tags[TAG_BYTES * bucket : TAG_BYTES * (bucket + 1)]
        if vault.tag(_MAGIC, self.object_id, 16 + bucket, content) != tag:
            raise problems.Damaged(self.name, "a bucket is not what was written")

    def entry(self, number: int) -> pack.Entry:
        if not 0 <= pack.ENTRY_BYTES * number < len(self.packs):
            raise problems.Damaged(self.name, "it names a pack that it does not have")
        return pack.decode_entry(self.packs, pack.ENTRY_BYTES * number)


def record(cell_id: bytes, pack_number: int, recipe: int) -> bytes:
    return _RECORD.pack(cell_id[:KEY_BYTES], pack_number, recipe)


def records(bucket: bytes) -> Iterator[tuple[bytes, int, int]]:
    """First half of the cell's id, number of the pack and of the recipe of each record."""
    return _RECORD.iter_unpack(bucket)


def find(bucket: bytes, cell_id: bytes) -> Iterator[tuple[int, int]]:
    """Numbers of pack and recipe of each record of a cell in its bucket."""
    key, start = cell_id[:KEY_BYTES], bucket.find(cell_id[:KEY_BYTES])
    while start >= 0:
        if start % RECORD_BYTES == 0:
            _, number, recipe = _RECORD.unpack_from(bucket, start)
            yield number, recipe
        start = bucket.find(key, start + 1)


def is_name(name: str) -> bool:
    """Whether an object is called as indexes are."""
    return _NAME.fullmatch(name) is not None


def parse_name(name: str) -> Name:
    """Raises Damaged for what is no name of an index."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise problems.Damaged(name, "this is no name of an index")
    return Name(int(match.group(1), 16), int(match.group(2), 16), bytes.fromhex(match.group(3)))


def bits_for(cells: int) -> int:
    """How many bits choose a bucket, so that a bucket has about 256 cells."""
    return min(24, max(0, (cells // _BUCKET_RECORDS).bit_length()))


class Builder:
    """Collects the parts of an index; buckets are added in order, each sorted already."""

    def __init__(self, vault: Vault, object_id: bytes, bits: int):
        self._vault, self._object_id, self._bits = vault, object_id, bits
        self._ends, self._tags, self._cells = bytearray(), bytearray(), 0
        self.buckets = 0

    def add(self, content: bytes) -> None:
        """The next bucket. It is stored by the caller, after the head, in the order of adding."""
        self._cells += len(content) // RECORD_BYTES
        self._ends += _COUNT.pack(self._cells)
        self._tags += self._vault.tag(_MAGIC, self._object_id, 16 + self.buckets, content)
        self.buckets += 1

    def finish(self, entries: bytes, used: dict[bytes, list[bytes]], stored_bytes: int) -> tuple[str, bytes]:
        """Name and head of the index; the buckets follow it."""
        parts = [
            _HEAD.pack(self._cells, stored_bytes, self._bits),
            entries,
            b"".join(pack_id + _COUNT.pack(len(ids)) + b"".join(ids) for pack_id, ids in used.items()),
            bytes(self._ends + self._tags),
        ]
        sealed = [
            container.seal(_MAGIC, self._vault, self._object_id, number, part) for number, part in enumerate(parts)
        ]
        head = container.encode(_MAGIC, self._vault, self._object_id, [*sealed, b""])
        return f"{PREFIX}{self._cells:x}-{stored_bytes:x}-{self._object_id.hex()}", head


def build(
    vault: Vault,
    object_id: bytes,
    records: Iterable[bytes],
    entries: bytes,
    used: dict[bytes, list[bytes]],
    stored_bytes: int,
) -> tuple[str, bytes]:
    """A whole small index: its name and bytes."""
    ordered = sorted(records)
    builder = Builder(vault, object_id, bits_for(len(ordered)))
    for bucket in split(ordered, builder._bits):
        builder.add(bucket)
    name, head = builder.finish(entries, used, stored_bytes)
    return name, head + b"".join(ordered)


def split(ordered: list[bytes], bits: int) -> Iterator[bytes]:
    """Sorted records as one piece for each bucket."""
    position = 0
    for bucket in range(1 << bits):
        begin = position
        limit = ((bucket + 1) << (32 - bits)).to_bytes(5, "big")
        while position < len(ordered) and b"\0" + ordered[position][:4] < limit:
            position += 1
        yield b"".join(ordered[begin:position])


def decode_places(vault: Vault, name: str, start: bytes) -> container.Places:
    """Where the sections are; checks that this is the object its name says. Raises Damaged."""
    places = container.decode(_MAGIC, vault, start, (_SECTIONS,), name)
    if places.object_id != parse_name(name).object_id:
        raise problems.Damaged(name, "it is another index than its name says")
    if places.sections[4][1] != 0:
        raise problems.Damaged(name, "its last section is not where the buckets are")
    return places


def decode_section(vault: Vault, name: str, places: container.Places, section: int, sealed: bytes) -> bytes:
    return container.open_section(_MAGIC, vault, places.object_id, section, sealed, name)


def decode_directory(vault: Vault, name: str, places: container.Places, sealed: list[bytes]) -> Directory:
    """`sealed`: sections 0, 1 and 3 as they are stored. Raises Damaged."""
    head, packs, buckets = (
        decode_section(vault, name, places, number, content) for number, content in zip((0, 1, 3), sealed)
    )
    said = parse_name(name)
    if len(head) != _HEAD.size or _HEAD.unpack(head)[:2] != (said.cells, said.stored_bytes):
        raise problems.Damaged(name, "it is another index than its name says")
    bits = int(_HEAD.unpack(head)[2])
    count = 1 << bits
    if bits > 32 or len(packs) % pack.ENTRY_BYTES:
        raise problems.Damaged(name, "its head is not one that is written")
    if len(buckets) != (4 + TAG_BYTES) * count:
        raise problems.Damaged(name, "its list of buckets is cut off")
    offset = places.sections[4][0]
    return Directory(name, places.object_id, packs, bits, buckets[: 4 * count], buckets[4 * count :], offset)


def decode_used(name: str, plain: bytes) -> dict[bytes, list[bytes]]:
    """Which other packs the recipes of each pack use. Raises Damaged."""
    used, offset = {}, 0
    while offset < len(plain):
        pack_id, rest = plain[offset : offset + 16], len(plain) - offset - 20
        count = _COUNT.unpack_from(plain, offset + 16)[0] if rest >= 0 else 0
        if rest < 16 * count:
            raise problems.Damaged(name, "its list of used packs is cut off")
        offset += 20
        used[pack_id] = [plain[place : place + 16] for place in range(offset, offset + 16 * count, 16)]
        offset += 16 * count
    return used
