# SPDX-License-Identifier: Apache-2.0
"""Publishing indexes, and merging many small ones into one so that a look-up opens few files."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence

from blake3 import blake3

from onebackup_driver.repository import saving
from onebackup_driver.repository.format import index, pack
from onebackup_driver.repository.format.vault import Vault
from onebackup_driver.repository.lookup import IndexFile
from onebackup_driver.repository.stores import base

#: So many indexes of at most so many cells are merged by the writer of the last one. gc merges the others.
_SMALL_INDEXES = 32
_SMALL_CELLS = 65536
_IN_MEMORY = 500_000
_PIECE_BYTES = 4 * 1024 * 1024


def publish_index(store: base.Store, vault: Vault, saved: saving.Saved, stored_bytes: int) -> None:
    """Publish the index of a run; `stored_bytes`: of its packs and its manifest."""
    numbers = {entry.pack_id: number for number, entry in enumerate(saved.own)}
    records = [index.record(cell_id, numbers[pack_id], recipe) for cell_id, pack_id, recipe in saved.records]
    entries = b"".join(entry.encode() for entry in saved.own)
    used = {pack_id: ids for pack_id, ids in saved.used.items() if ids}
    name, content = index.build(vault, os.urandom(16), records, entries, used, stored_bytes)
    store.put(name, content)


def is_due(before: Sequence[str]) -> bool:
    """Whether one index more than these may be one too many."""
    return sum(index.parse_name(name).cells <= _SMALL_CELLS for name in before) + 1 >= _SMALL_INDEXES


def merge_small(store: base.Store, vault: Vault, claims: str) -> None:
    """Merge the indexes of single backups into one when there are many; one writer does it, the others go on."""
    small = [entry.name for entry in store.list(index.PREFIX) if index.parse_name(entry.name).cells <= _SMALL_CELLS]
    if len(small) < _SMALL_INDEXES:
        return
    first = [*sorted(small)[:_SMALL_INDEXES], str(len(small) // 8)]  # tried again when more have come
    claim = blake3("\n".join(first).encode()).hexdigest()
    if not store.put(f"{claims}merge-{claim[:32]}", b"merging"):
        return
    files: list[IndexFile] = []
    try:
        for name in small:
            files.append(IndexFile(store, vault, name))
        merge(store, vault, files, frozenset(), sum(file.said.stored_bytes for file in files))
        for file in files:
            store.delete(file.name)
    finally:
        for file in files:
            file.close()


def merge(
    store: base.Store, vault: Vault, files: Sequence[IndexFile], without: frozenset[bytes], stored_bytes: int
) -> str:
    """Publish one index with what all these have, but not the packs in `without`; its name. They are not deleted."""
    return _Merge(vault, files, without).publish(store, stored_bytes)


class _Merge:
    """Bucket by bucket: of large indexes only one bucket each is in memory, small ones are there wholly; of the new one
    the list of packs. The buckets wait in a temporary file until the head is known."""

    def __init__(self, vault: Vault, files: Sequence[IndexFile], without: frozenset[bytes]):
        self._vault, self._object_id = vault, os.urandom(16)
        self._entries, self._used = bytearray(), dict[bytes, list[bytes]]()
        self._bits = index.bits_for(sum(file.said.cells for file in files))
        self._large: list[tuple[IndexFile, list[int]]] = []
        self._small: list[bytes] = []
        for file in sorted(files, key=lambda file: -file.said.cells):
            numbers = self._number_packs(file, without)
            if file.said.cells > _SMALL_CELLS or len(self._small) > _IN_MEMORY:
                self._large.append((file, numbers))
            else:
                for bucket in range(file.directory.bucket_count()):
                    self._small += _renumbered(file.bucket(bucket), numbers)
        self._small.sort()

    def _number_packs(self, file: IndexFile, without: frozenset[bytes]) -> list[int]:
        numbers = []
        for offset in range(0, len(file.directory.packs), pack.ENTRY_BYTES):
            entry = file.directory.packs[offset : offset + pack.ENTRY_BYTES]
            if entry[:16] in without:
                numbers.append(-1)
                continue
            numbers.append(len(self._entries) // pack.ENTRY_BYTES)
            self._entries += entry
        used = file.used_packs()
        self._used.update((pack_id, ids) for pack_id, ids in used.items() if pack_id not in without)
        return numbers

    def publish(self, store: base.Store, stored_bytes: int) -> str:
        import tempfile

        builder = index.Builder(self._vault, self._object_id, self._bits)
        with tempfile.TemporaryFile() as waiting:
            for bucket in range(1 << self._bits):
                content = self._bucket(bucket)
                builder.add(content)
                waiting.write(content)
            name, head = builder.finish(bytes(self._entries), self._used, stored_bytes)
            waiting.seek(0)
            writer = store.create(name)
            try:
                writer.write(head)
                while piece := waiting.read(_PIECE_BYTES):
                    writer.write(piece)
                writer.publish()
            finally:
                writer.abandon()
        return name

    def _bucket(self, bucket: int) -> bytes:
        low, high = (((bucket + more) << (32 - self._bits)).to_bytes(5, "big") for more in (0, 1))
        records = self._small[self._place(low) : self._place(high)]
        for file, numbers in self._large:
            for number in self._buckets_of(file, bucket):
                found = _renumbered(file.bucket(number), numbers)
                if file.directory.bits < self._bits:
                    found = [record for record in found if low <= b"\0" + record[:4] < high]
                records += found
        return b"".join(sorted(set(records)))

    def _place(self, key: bytes) -> int:
        """Where the records from this key on begin in the small ones; the key has a fifth byte in front."""
        return len(self._small) if key[0] else bisect_left(self._small, key[1:])

    def _buckets_of(self, file: IndexFile, bucket: int) -> range:
        shift = file.directory.bits - self._bits
        if shift < 0:
            return range(bucket >> -shift, (bucket >> -shift) + 1)
        return range(bucket << shift, (bucket + 1) << shift)


def _renumbered(bucket: bytes, numbers: list[int]) -> list[bytes]:
    """The records of an old bucket with the new numbers of their packs, without those of packs that have none."""
    return [index.record(key, numbers[old], recipe) for key, old, recipe in index.records(bucket) if numbers[old] >= 0]
