# SPDX-License-Identifier: Apache-2.0
"""Reading cells: fetch the frames of a recipe, decrypt, decompress, put together, and check the hash."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

import zstandard

from onebackup_driver.repository import problems
from onebackup_driver.repository.format import header, pack, recipe, vault
from onebackup_driver.repository.format.recipe import Frame, Recipe
from onebackup_driver.repository.stores import base

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_TABLES_BYTES = 16 * 1024 * 1024
_CIPHERS = 256


class Tables:
    """The tables of packs, the most recently used kept (16 MiB at most). For all threads."""

    def __init__(self, store: base.Store, keys: vault.Vault, parameters: header.Parameters):
        self._store, self._keys, self._parameters = store, keys, parameters
        self._lock = threading.Lock()
        self._loading: dict[bytes, threading.Lock] = {}
        self._kept: OrderedDict[bytes, pack.Table] = OrderedDict()
        self._kept_bytes = 0

    def recipe(self, entry: pack.Entry, number: int) -> Recipe:
        """A checked recipe. Raises Damaged, Missing."""
        found = self.table(entry).recipe(number)
        recipe.check(found, self._parameters.block_bytes, self._parameters.cell_bytes, pack.name_of(entry.pack_id))
        return found

    def table(self, entry: pack.Entry) -> pack.Table:
        """The table of a pack; of several threads that need it one fetches it. Raises Damaged, Missing."""
        with self._lock:
            kept = self._again(entry.pack_id)
            loading = self._loading.setdefault(entry.pack_id, threading.Lock())
        if kept is not None:
            return kept
        with loading:
            with self._lock:
                kept = self._again(entry.pack_id)
            return kept or base.steadily(lambda: self._fetched(entry))

    def _again(self, pack_id: bytes) -> Optional[pack.Table]:
        kept = self._kept.get(pack_id)
        if kept is not None:
            self._kept.move_to_end(pack_id)
        return kept

    def _fetched(self, entry: pack.Entry) -> pack.Table:
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
                gone, table = self._kept.popitem(last=False)
                self._kept_bytes -= len(table.content)
                self._loading.pop(gone, None)


def entry_of(store: base.Store, pack_id: bytes) -> pack.Entry:
    """The entry of a pack, from the pack itself. Raises Damaged, Missing."""
    name = pack.name_of(pack_id)
    size = store.size(name)
    trailer = store.get(name, max(0, size - pack.TRAILER_BYTES), pack.TRAILER_BYTES)
    return pack.decode_trailer(trailer, pack_id, size)


def longest_frame(parameters: header.Parameters) -> int:
    """How long a frame can be as it is stored: what cannot be compressed becomes a little longer."""
    return parameters.cell_bytes + parameters.cell_bytes // 128 + 1024


def fetch(store: base.Store, frame: Frame, buffer: memoryview) -> memoryview:
    """A frame as it is stored, in the buffer. Raises Damaged when it is longer or the pack is cut off, Missing."""
    name = pack.name_of(frame.pack_id)
    if frame.stored_bytes > len(buffer):
        raise problems.Damaged(name, "a frame is longer than any that is written")
    view = buffer[: frame.stored_bytes]
    for _ in range(2):  # an answer that was too short is a whole one the next time
        if store.read_into(name, frame.offset, view) == frame.stored_bytes:
            break
    else:
        raise problems.Damaged(name, "it is cut off")
    return view


def fetch_all(store: base.Store, wanted: Recipe, buffer: memoryview) -> list[memoryview]:
    """All frames of a cell, in the buffer; none when it has not room for them together. Raises Damaged, Missing."""
    if sum(frame.stored_bytes for frame in wanted.frames) > len(buffer):
        return []
    fetched = []
    for frame in wanted.frames:
        fetched.append(fetch(store, frame, buffer))
        buffer = buffer[frame.stored_bytes :]
    return fetched


class Scratch:
    """Memory that one reader at a time needs, made when it is first asked for and then kept."""

    def __init__(self) -> None:
        self.cell, self.raw, self.stored, self.opened = (_Grown() for _ in range(4))


class _Grown:
    def __init__(self) -> None:
        self._view = memoryview(b"")

    def __call__(self, length: int) -> memoryview:
        """At least so many bytes."""
        if len(self._view) < length:
            self._view = memoryview(bytearray(length))
        return self._view


class CellReader:
    """Puts cells together. For one thread at a time: it owns the `scratch` that its results point into."""

    def __init__(
        self,
        store: base.Store,
        keys: vault.Vault,
        parameters: header.Parameters,
        scratch: Optional[Scratch] = None,
    ):
        self._store, self._keys, self._parameters = store, keys, parameters
        self._block_bytes, self._longest_frame = parameters.block_bytes, longest_frame(parameters)
        self._scratch = scratch or Scratch()
        self._decompressor = zstandard.ZstdDecompressor()
        self._ciphers: dict[bytes, AESGCM] = {}

    def read(
        self, wanted: Recipe, fetched: Sequence[memoryview] = (), buffer: Optional[memoryview] = None
    ) -> memoryview:
        """The cell's bytes, checked: in the `buffer`, or else valid until the next call. `fetched`: its frames as they
        are stored, when somebody has them (see fetch_all); else they are fetched one after the other. Raises Damaged,
        Missing."""
        whole = self._scratch.cell(self._parameters.cell_bytes) if buffer is None else buffer
        try:
            return self._read(wanted, fetched, whole[: wanted.length])
        except problems.Damaged:  # what was garbled on its way is whole the next time
            return self._read(wanted, (), whole[: wanted.length])

    def _read(self, wanted: Recipe, fetched: Sequence[memoryview], cell: memoryview) -> memoryview:
        if wanted.places == _in_order(wanted.block_count()) and wanted.frames[0].raw_bytes == wanted.length:
            self._decompress(wanted.frames[0], fetched[0] if fetched else None, cell)
        else:
            self._assemble(wanted, fetched, cell)
        if self._keys.cell_id(cell) != wanted.cell_id:
            names = " or ".join(sorted({pack.name_of(frame.pack_id) for frame in wanted.frames})) or "a recipe"
            raise problems.Damaged(names, f"the content of cell {wanted.cell_id.hex()[:16]} is wrong")
        return cell

    def _assemble(self, wanted: Recipe, fetched: Sequence[memoryview], cell: memoryview) -> None:
        size = self._block_bytes
        for start, end in _runs_of(wanted.places, recipe.ZERO):
            part = cell[start * size : end * size]
            part[:] = bytes(len(part))
        for number, frame in enumerate(wanted.frames):
            raw = self._scratch.raw(self._parameters.cell_bytes)[: frame.raw_bytes]
            self._decompress(frame, fetched[number] if fetched else None, raw)
            for begin, end in _runs_of(wanted.places, number):
                place = wanted.places[2 * begin + 1] * size
                part = cell[begin * size : end * size]
                if place + len(part) > len(raw):
                    raise problems.Damaged(pack.name_of(frame.pack_id), "a frame is shorter than its recipe says")
                part[:] = raw[place : place + len(part)]

    def _decompress(self, frame: Frame, stored: Optional[memoryview], out: memoryview) -> None:
        name = pack.name_of(frame.pack_id)
        if stored is None:
            stored = fetch(self._store, frame, self._scratch.stored(self._longest_frame)[: self._longest_frame])
        compressed = self._decrypted(frame, stored, name) if self._keys.encrypted else stored
        try:
            done = self._decompressor.stream_reader(compressed).readinto(out)
        except zstandard.ZstdError:
            done = -1
        if done != frame.raw_bytes:
            raise problems.Damaged(name, f"the frame at {frame.offset} cannot be decompressed")

    def _decrypted(self, frame: Frame, stored: memoryview, name: str) -> memoryview:
        from cryptography.exceptions import InvalidTag

        if len(stored) < vault.TAG_BYTES:
            raise problems.Damaged(name, "a frame is too short")
        opened = self._scratch.opened(self._longest_frame)[: len(stored) - vault.TAG_BYTES]
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
