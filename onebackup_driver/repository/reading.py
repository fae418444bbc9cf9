# SPDX-License-Identifier: Apache-2.0
"""Reading cells: fetch the frames of a recipe, decrypt, decompress, put together, and check the hash."""

from __future__ import annotations

import threading
from collections import OrderedDict

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from onebackup_driver.repository import problems
from onebackup_driver.repository.format import header, pack, recipe, vault
from onebackup_driver.repository.format.recipe import Frame, Recipe
from onebackup_driver.repository.stores import base

_TABLES_BYTES = 16 * 1024 * 1024
_CIPHERS = 256


class Tables:
    """The tables of packs, the most recently used kept (16 MiB at most). For all threads."""

    def __init__(self, store: base.Store, keys: vault.Vault, parameters: header.Parameters):
        self._store, self._keys, self._parameters = store, keys, parameters
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, pack.Table] = OrderedDict()
        self._kept_bytes = 0

    def recipe(self, entry: pack.Entry, number: int) -> Recipe:
        """A checked recipe. Raises Damaged, Missing."""
        found = self.table(entry).recipe(number)
        recipe.check(found, self._parameters.block_bytes, self._parameters.cell_bytes, pack.name_of(entry.pack_id))
        return found

    def table(self, entry: pack.Entry) -> pack.Table:
        """The table of a pack. Raises Damaged, Missing."""
        with self._lock:
            kept = self._kept.get(entry.pack_id)
            if kept is not None:
                self._kept.move_to_end(entry.pack_id)
                return kept
        sealed = base.exactly(self._store, pack.name_of(entry.pack_id), entry.table_offset, entry.table_bytes)
        table = pack.decode_table(self._keys, entry, sealed)
        self._keep(entry.pack_id, table)
        return table

    def _keep(self, pack_id: bytes, table: pack.Table) -> None:
        with self._lock:
            if pack_id not in self._kept:
                self._kept[pack_id] = table
                self._kept_bytes += len(table.content)
            while self._kept_bytes > _TABLES_BYTES and len(self._kept) > 1:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1].content)


def entry_of(store: base.Store, pack_id: bytes) -> pack.Entry:
    """The entry of a pack, from the pack itself. Raises Damaged, Missing."""
    name = pack.name_of(pack_id)
    size = store.size(name)
    trailer = store.get(name, max(0, size - pack.TRAILER_BYTES), pack.TRAILER_BYTES)
    return pack.decode_trailer(trailer, pack_id, size)


class CellReader:
    """Puts cells together. One for each thread: it owns the buffers that its results point into."""

    def __init__(self, store: base.Store, keys: vault.Vault, parameters: header.Parameters):
        self._store, self._keys, self._block_bytes = store, keys, parameters.block_bytes
        self._cell = memoryview(bytearray(parameters.cell_bytes))
        self._raw = memoryview(bytearray(parameters.cell_bytes))
        bound = parameters.cell_bytes + parameters.cell_bytes // 128 + 1024
        self._stored = memoryview(bytearray(bound))
        self._opened = memoryview(bytearray(bound if keys.encrypted else 0))
        self._decompressor = zstandard.ZstdDecompressor()
        self._ciphers: dict[bytes, AESGCM] = {}

    def read(self, wanted: Recipe) -> memoryview:
        """The cell's bytes, checked; valid until the next call. Raises Damaged, Missing."""
        cell = self._cell[: wanted.length]
        if wanted.places == _in_order(wanted.block_count()) and wanted.frames[0].raw_bytes == wanted.length:
            self._fetch(wanted.frames[0], cell)
        else:
            self._assemble(wanted, cell)
        if self._keys.cell_id(cell) != wanted.cell_id:
            names = " or ".join(sorted({pack.name_of(frame.pack_id) for frame in wanted.frames})) or "a recipe"
            raise problems.Damaged(names, f"the content of cell {wanted.cell_id.hex()[:16]} is wrong")
        return cell

    def _assemble(self, wanted: Recipe, cell: memoryview) -> None:
        size = self._block_bytes
        for start, end in _runs_of(wanted.places, recipe.ZERO):
            part = cell[start * size : end * size]
            part[:] = bytes(len(part))
        for number, frame in enumerate(wanted.frames):
            raw = self._raw[: frame.raw_bytes]
            self._fetch(frame, raw)
            for begin, end in _runs_of(wanted.places, number):
                place = wanted.places[2 * begin + 1] * size
                part = cell[begin * size : end * size]
                if place + len(part) > len(raw):
                    raise problems.Damaged(pack.name_of(frame.pack_id), "a frame is shorter than its recipe says")
                part[:] = raw[place : place + len(part)]

    def _fetch(self, frame: Frame, out: memoryview) -> None:
        name = pack.name_of(frame.pack_id)
        if frame.stored_bytes > len(self._stored):
            raise problems.Damaged(name, "a frame is longer than any that is written")
        stored = self._stored[: frame.stored_bytes]
        if self._store.read_into(name, frame.offset, stored) != frame.stored_bytes:
            raise problems.Damaged(name, "it is cut off")
        compressed = self._decrypted(frame, stored, name) if self._keys.encrypted else stored
        try:
            done = self._decompressor.stream_reader(compressed).readinto(out)
        except zstandard.ZstdError:
            done = -1
        if done != frame.raw_bytes:
            raise problems.Damaged(name, f"the frame at {frame.offset} cannot be decompressed")

    def _decrypted(self, frame: Frame, stored: memoryview, name: str) -> memoryview:
        if len(stored) < vault.TAG_BYTES:
            raise problems.Damaged(name, "a frame is too short")
        opened = self._opened[: len(stored) - vault.TAG_BYTES]
        try:
            self._cipher(frame.pack_id).decrypt_into(vault.frame_nonce(frame.offset), stored, None, opened)
        except InvalidTag:
            raise problems.Damaged(name, f"the frame at {frame.offset} was not written with this key") from None
        return opened

    def _cipher(self, pack_id: bytes) -> AESGCM:
        cipher = self._ciphers.get(pack_id)
        if cipher is None:
            if len(self._ciphers) >= _CIPHERS:
                self._ciphers.clear()
            cipher = self._keys.frame_cipher(pack_id)
            assert cipher is not None
            self._ciphers[pack_id] = cipher
        return cipher


def data_runs(length: int, zeros: int, block_bytes: int) -> list[tuple[int, int]]:
    """The parts of a cell that are not zeros: begin and end in bytes. `zeros`: a bit for each block."""
    if not zeros:
        return [(0, length)]
    runs: list[tuple[int, int]] = []
    for number, begin in enumerate(range(0, length, block_bytes)):
        end = min(begin + block_bytes, length)
        if zeros >> number & 1:
            continue
        if runs and runs[-1][1] == begin:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((begin, end))
    return runs


def _runs_of(places: bytes, wanted: int) -> list[tuple[int, int]]:
    """Runs of blocks that lie one behind the other in one frame (or are all zeros): first block, end."""
    runs: list[tuple[int, int]] = []
    for number, frame in enumerate(places[::2]):
        if frame != wanted:
            continue
        follows = runs and runs[-1][1] == number
        if follows and (wanted == recipe.ZERO or places[2 * number + 1] == places[2 * number - 1] + 1):
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs


def _in_order(count: int) -> bytes:
    return _ORDER[: 2 * count]


_ORDER = bytes(byte for place in range(256) for byte in (0, place))
