# SPDX-License-Identifier: Apache-2.0
"""Writing packs: frames as they are made, the table of recipes at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Optional

import zstandard

from onebackup_driver.repository import problems
from onebackup_driver.repository.extent import Buffer
from onebackup_driver.repository.format import header, pack, recipe, vault
from onebackup_driver.repository.format.recipe import Frame, Recipe
from onebackup_driver.repository.stores import base

#: A pack with more recipes ends, so that no table becomes large.
_RECIPES = 4096


class PackWriter:
    """One pack of one thread. Nothing of it is visible before finish."""

    def __init__(self, store: base.Store, keys: vault.Vault):
        self.pack_id = os.urandom(16)
        self.size_bytes = pack.HEAD_BYTES
        self.recipe_count = 0
        self._keys = keys
        self._cipher = keys.frame_cipher(self.pack_id)
        self._pack_numbers = {self.pack_id: 0}
        self._recipes = bytearray()
        self._name = pack.name_of(self.pack_id)
        self._writer = store.create(self._name)
        try:
            self._writer.write(pack.head(keys, self.pack_id))
        except BaseException:
            self._writer.abandon()
            raise

    def append_frame(self, compressed: bytes, raw_bytes: int, scratch: memoryview) -> Frame:
        """Add blocks compressed together; `scratch` takes them encrypted."""
        data: Buffer = compressed
        if self._cipher is not None:
            data = scratch[: len(compressed) + vault.TAG_BYTES]
            self._cipher.encrypt_into(vault.frame_nonce(self.size_bytes), compressed, None, data)
        frame = Frame(self.pack_id, self.size_bytes, len(data), raw_bytes)
        self._writer.write(data)
        self.size_bytes += len(data)
        return frame

    def append_recipe(self, made: Recipe) -> int:
        """Add a recipe to the table; its number."""
        self._recipes += recipe.encode(made, self._pack_numbers)
        self.recipe_count += 1
        return self.recipe_count - 1

    def is_full(self, pack_bytes: int) -> bool:
        return self.size_bytes >= pack_bytes or self.recipe_count >= _RECIPES

    def used_packs(self) -> list[bytes]:
        """Other packs whose frames the recipes use."""
        return list(self._pack_numbers)[1:]

    def finish(self) -> pack.Entry:
        """Write the table and publish the pack."""
        end = pack.encode_table(self._keys, self.pack_id, self.size_bytes, self._pack_numbers, bytes(self._recipes))
        self._writer.write(end)
        if not self._writer.publish():
            raise problems.StoreFailed(f"{self._name} exists already: is the random number generator in order?")
        table_bytes = len(end) - pack.TRAILER_BYTES
        return pack.Entry(self.pack_id, self.size_bytes + len(end), self.size_bytes, table_bytes)

    def abandon(self) -> None:
        self._writer.abandon()


class Cutter:
    """Splits a cell into blocks and stores those that are not known yet. One for each thread: it owns buffers."""

    def __init__(self, keys: vault.Vault, parameters: header.Parameters):
        self._keys, self._parameters = keys, parameters
        self._compressor = zstandard.ZstdCompressor(level=parameters.compression_level, write_content_size=True)
        bound = parameters.cell_bytes + parameters.cell_bytes // 128 + 1024
        self._encrypted = memoryview(bytearray(bound if keys.encrypted else 0))
        self._zeros = bytearray(parameters.block_bytes)

    def zero_blocks(self, data: memoryview) -> int:
        """Which blocks of a cell are zeros: a bit for each, the first one the lowest."""
        size, zeros, found = self._parameters.block_bytes, self._zeros, 0
        firsts = data[::size].tobytes()  # the first byte of each block
        number = firsts.find(0)
        while number >= 0:
            if zeros.startswith(data[number * size : (number + 1) * size]):  # memcmp: two memoryviews do without
                found |= 1 << number
            number = firsts.find(0, number + 1)
        return found

    def cut(self, data: memoryview, cell_id: bytes, zeros: int, known: Sequence[Recipe], writer: PackWriter) -> Recipe:
        """The recipe of a cell; new blocks are appended to `writer`. `zeros`: its blocks of zeros; `known`: recipes
        that may share blocks."""
        block_ids = self._block_ids(data, zeros)
        places = _places(known)
        most = self._parameters.frames_per_cell - 1
        if len({places[found][0] for found in block_ids if found in places}) > most:
            places = {}  # scattered over too many frames
        return self._assembled(data, cell_id, block_ids, places, writer)

    def _block_ids(self, data: memoryview, zeros: int) -> list[Optional[bytes]]:
        size, block_id = self._parameters.block_bytes, self._keys.block_id
        return [
            None if zeros >> number & 1 else block_id(data[start : start + size])
            for number, start in enumerate(range(0, len(data), size))
        ]

    def _assembled(
        self,
        data: memoryview,
        cell_id: bytes,
        ids: list[Optional[bytes]],
        places: dict[Optional[bytes], tuple[Frame, int]],
        writer: PackWriter,
    ) -> Recipe:
        new: dict[bytes, int] = {}
        for number, block_id in enumerate(ids):
            if block_id is not None and block_id not in places:
                new.setdefault(block_id, number)
        if new:
            frame = self._append(data, list(new.values()), writer)
            places.update((block_id, (frame, place)) for place, block_id in enumerate(new))
        frames: dict[Frame, int] = {}
        coded = bytearray()
        for block_id in ids:
            if block_id is None:
                coded += bytes((recipe.ZERO, 0))
                continue
            frame, place = places[block_id]
            coded += bytes((frames.setdefault(frame, len(frames)), place))
        all_ids = b"".join(block_id or bytes(vault.BLOCK_ID_BYTES) for block_id in ids)
        return Recipe(cell_id, len(data), tuple(frames), bytes(coded), all_ids)

    def _append(self, data: memoryview, blocks: list[int], writer: PackWriter) -> Frame:
        size = self._parameters.block_bytes
        runs = _runs(blocks)
        if len(runs) == 1:
            raw: Buffer = data[runs[0][0] * size : runs[0][1] * size]
        else:
            raw = b"".join([data[begin * size : end * size] for begin, end in runs])
        # in one call: a stream copies the data once more and then matches in two segments, a tenth slower
        return writer.append_frame(self._compressor.compress(raw), len(raw), self._encrypted)


def _places(known: Sequence[Recipe]) -> dict[Optional[bytes], tuple[Frame, int]]:
    """Where each block of these recipes lies; of several places that of the first recipe."""
    places: dict[Optional[bytes], tuple[Frame, int]] = {}
    for made in reversed(known):
        numbers, ids = made.places, made.block_ids
        for block in range(made.block_count()):
            if numbers[2 * block] != recipe.ZERO:
                start = vault.BLOCK_ID_BYTES * block
                block_id = ids[start : start + vault.BLOCK_ID_BYTES]
                places[block_id] = (made.frames[numbers[2 * block]], numbers[2 * block + 1])
    return places


def _runs(blocks: list[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges."""
    runs: list[tuple[int, int]] = []
    for block in blocks:
        if runs and runs[-1][1] == block:
            runs[-1] = (runs[-1][0], block + 1)
        else:
            runs.append((block, block + 1))
    return runs
