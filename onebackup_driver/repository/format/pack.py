# SPDX-License-Identifier: Apache-2.0
"""Packs: frames, behind them the table of the recipes that were made with them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from onebackup_driver.repository import problems
from onebackup_driver.repository.format import container, recipe
from onebackup_driver.repository.format.recipe import Recipe
from onebackup_driver.repository.format.vault import Vault

PREFIX = "packs/"
_MAGIC = b"OBPACK01"
_HEAD = struct.Struct("<8s16s16s")
_TRAILER = struct.Struct("<QI8s")
_COUNTS = struct.Struct("<II")
_ENTRY = struct.Struct("<16sQQI")
HEAD_BYTES = _HEAD.size
TRAILER_BYTES = _TRAILER.size
ENTRY_BYTES = _ENTRY.size


class Entry(NamedTuple):
    """What is known of a pack elsewhere: its id, its size, where its table lies."""

    pack_id: bytes
    size_bytes: int
    table_offset: int
    table_bytes: int

    def encode(self) -> bytes:
        return _ENTRY.pack(*self)


class Table(NamedTuple):
    """A pack's recipes, still encoded, and the packs whose frames they use (number 0 is the pack itself)."""

    name: str
    packs: list[bytes]
    content: bytes
    offsets: list[int]

    def recipe(self, number: int) -> Recipe:
        """Raises Damaged when there is none with this number."""
        if not 0 <= number < len(self.offsets):
            raise problems.Damaged(self.name, f"it has no recipe {number}")
        try:
            return recipe.decode(self.content, self.offsets[number], self.packs)
        except IndexError:
            raise problems.Damaged(self.name, "a recipe names a pack that is not in the table") from None


def name_of(pack_id: bytes) -> str:
    """The name of the pack's object."""
    text = pack_id.hex()
    return f"{PREFIX}{text[:2]}/{text}"


def id_of(name: str) -> bytes:
    """The id in an object's name. Raises Damaged for a name that is none of a pack."""
    try:
        pack_id = bytes.fromhex(name.rpartition("/")[2])
    except ValueError:
        pack_id = b""
    if len(pack_id) != 16 or name_of(pack_id) != name:
        raise problems.Damaged(name, "this is no name of a pack")
    return pack_id


def decode_entry(encoded: bytes, offset: int = 0) -> Entry:
    return Entry(*_ENTRY.unpack_from(encoded, offset))


def entry_ids(encoded: bytes) -> Iterator[bytes]:
    """The ids of the packs in entries that follow one another."""
    return (encoded[at : at + 16] for at in range(0, len(encoded), ENTRY_BYTES))


def head(vault: Vault, pack_id: bytes) -> bytes:
    """The first bytes of a pack."""
    return _HEAD.pack(_MAGIC, vault.repository_id, pack_id)


def encode_table(vault: Vault, pack_id: bytes, offset: int, pack_numbers: dict[bytes, int], recipes: bytes) -> bytes:
    """The sealed table at `offset` and the trailer behind it: the end of a pack."""
    count = _count(recipes)
    plain = _COUNTS.pack(len(pack_numbers), count) + b"".join(pack_numbers) + recipes
    sealed = container.seal(_MAGIC, vault, pack_id, offset, plain)
    return sealed + _TRAILER.pack(offset, len(sealed), _MAGIC)


def decode_trailer(trailer: bytes, pack_id: bytes, size_bytes: int) -> Entry:
    """The entry of a pack from its last bytes. Raises Damaged."""
    name = name_of(pack_id)
    if len(trailer) != TRAILER_BYTES:
        raise problems.Damaged(name, "it is cut off")
    offset, length, magic = _TRAILER.unpack(trailer)
    if magic != _MAGIC or offset + length + TRAILER_BYTES != size_bytes:
        raise problems.Damaged(name, "its end is not that of a pack")
    return Entry(pack_id, size_bytes, offset, length)


def decode_table(vault: Vault, entry: Entry, sealed: bytes) -> Table:
    """Check and open a pack's table. Raises Damaged."""
    name = name_of(entry.pack_id)
    plain = container.open_section(_MAGIC, vault, entry.pack_id, entry.table_offset, sealed, name)
    try:
        pack_count, recipe_count = _COUNTS.unpack_from(plain)
        start = _COUNTS.size + 16 * pack_count
        if start > len(plain):
            raise problems.Damaged(name, "its table is cut off")
        packs = [plain[place : place + 16] for place in range(_COUNTS.size, start, 16)]
        offsets = []
        for _ in range(recipe_count):
            offsets.append(start)
            start += recipe.size_at(plain, start)
    except struct.error:
        start = -1
    if start != len(plain) or not packs or packs[0] != entry.pack_id:
        raise problems.Damaged(name, "its table is not that of this pack")
    return Table(name, packs, plain, offsets)


def _count(recipes: bytes) -> int:
    count = offset = 0
    while offset < len(recipes):
        offset += recipe.size_at(recipes, offset)
        count += 1
    return count
