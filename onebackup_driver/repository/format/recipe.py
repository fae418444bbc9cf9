# SPDX-License-Identifier: Apache-2.0
"""The recipe of a cell: of which blocks of which frames it is made."""

from __future__ import annotations

import struct
from typing import NamedTuple

from onebackup_driver.repository import problems
from onebackup_driver.repository.format.vault import BLOCK_ID_BYTES, CELL_ID_BYTES

#: The frame number of a block of zeros, which is stored nowhere.
ZERO = 255
_HEAD = struct.Struct("<32sIBxH")
_FRAME = struct.Struct("<HIII")


class Frame(NamedTuple):
    """Blocks compressed together: where they lie, how long they are stored and decompressed."""

    pack_id: bytes
    offset: int
    stored_bytes: int
    raw_bytes: int


class Recipe(NamedTuple):
    """`places`: for each block of the cell two bytes, the number of its frame (ZERO: zeros) and its number in that
    frame; `block_ids`: 16 bytes for each block, all zero for a block of zeros."""

    cell_id: bytes
    length: int
    frames: tuple[Frame, ...]
    places: bytes
    block_ids: bytes

    def block_count(self) -> int:
        return len(self.places) // 2

    def zeros(self) -> int:
        """Which blocks are zeros: a bit for each, the first one the lowest."""
        return sum(1 << block for block, frame in enumerate(self.places[::2]) if frame == ZERO)


def encode(recipe: Recipe, pack_numbers: dict[bytes, int]) -> bytes:
    """The recipe's bytes; `pack_numbers` gives each pack its number in the table, new ones are added."""
    frames = [
        _FRAME.pack(pack_numbers.setdefault(frame.pack_id, len(pack_numbers)), *frame[1:]) for frame in recipe.frames
    ]
    head = _HEAD.pack(recipe.cell_id, recipe.length, len(frames), recipe.block_count())
    return b"".join([head, *frames, recipe.places, recipe.block_ids])


def size_at(table: bytes, offset: int) -> int:
    """How long the recipe at this offset is."""
    _, _, frames, blocks = _HEAD.unpack_from(table, offset)
    return int(_HEAD.size + _FRAME.size * frames + (2 + BLOCK_ID_BYTES) * blocks)


def decode(table: bytes, offset: int, packs: list[bytes]) -> Recipe:
    """Read the recipe at `offset` of a pack's table."""
    cell_id, length, frame_count, blocks = _HEAD.unpack_from(table, offset)
    offset += _HEAD.size
    frames = []
    for _ in range(frame_count):
        number, *rest = _FRAME.unpack_from(table, offset)
        frames.append(Frame(packs[number], *rest))
        offset += _FRAME.size
    end = offset + 2 * blocks
    return Recipe(cell_id, length, tuple(frames), table[offset:end], table[end : end + BLOCK_ID_BYTES * blocks])


def check(recipe: Recipe, block_bytes: int, cell_bytes: int, name: str) -> None:
    """Refuse a recipe that cannot be followed. Raises Damaged."""
    blocks = recipe.block_count()
    if not 0 < recipe.length <= cell_bytes or blocks != -(-recipe.length // block_bytes):
        raise problems.Damaged(name, "a recipe does not fit its cell")
    if len(recipe.cell_id) != CELL_ID_BYTES or len(recipe.block_ids) != BLOCK_ID_BYTES * blocks:
        raise problems.Damaged(name, "a recipe is cut off")
    if any(frame.raw_bytes > cell_bytes for frame in recipe.frames):
        raise problems.Damaged(name, "a frame is larger than a cell")
    for number, position in zip(recipe.places[::2], recipe.places[1::2]):
        if number != ZERO and (
            number >= len(recipe.frames) or position * block_bytes >= recipe.frames[number].raw_bytes
        ):
            raise problems.Damaged(name, "a recipe names a block that is not there")
