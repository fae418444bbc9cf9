# SPDX-License-Identifier: Apache-2.0
"""Publishing indexes, and merging many small ones into one so that a look-up opens few files."""

from __future__ import annotations

import secrets
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


def publish_index(store: base.Store, vault: Vault, saved: saving.Saved, stored_bytes: int) -> None:
    """Publish the index of a run; `stored_bytes`: of its packs and its manifest."""
    numbers = {entry.pack_id: number for number, entry in enumerate(saved.own)}
    records = [index.record(cell_id, numbers[pack_id], recipe) for cell_id, pack_id, recipe in saved.records]
    entries = b"".join(entry.encode() for entry in saved.own)
    used = {pack_id: ids for pack_id, ids in saved.used.items() if ids}
    name, content = index.build(vault, secrets.token_bytes(16), records, entries, used, stored_bytes)
    store.put(name, content)


def merge_small(store: base.Store, vault: Vault, claims: str) -> None:
    """Merge the indexes of single backups into one when there are many; one writer does it, the others go on."""
    small = [
        entry.name for entry in store.list(index.PREFIX) if index.parse_name(entry.name).cells <= _SMALL_CELLS
    ]
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
    """Bucket by bucket: of the old indexes only one bucket each is in memory, of the new one its packs."""

    def __init__(self, vault: Vault, files: Sequence[IndexFile], without: frozenset[bytes]):
        self._files, self._vault = files, vault
        self._entries, self._used = bytearray(), dict[bytes, list[bytes]]()
        self._numbers = [self._number_packs(file, without) for file in files]
        self._object_id = secrets.token_bytes(16)

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
        bits = index.bits_for(sum(file.said.cells for file in self._files))
        builder = index.Builder(self._vault, self._object_id, bits)
        for bucket in range(1 << bits):
            builder.add(self._bucket(bucket, bits))
        name, head = builder.finish(bytes(self._entries), self._used, stored_bytes)
        writer = store.create(name)
        try:
            writer.write(head)
            for bucket in range(1 << bits):
                writer.write(self._bucket(bucket, bits))
            writer.publish()
        finally:
            writer.abandon()
        return name

    def _bucket(self, bucket: int, bits: int) -> bytes:
        records = []
        for file, numbers in zip(self._files, self._numbers):
            records += _renumbered(file, numbers, bucket, bits)
        return b"".join(sorted(set(records)))


def _renumbered(file: IndexFile, numbers: list[int], bucket: int, bits: int) -> list[bytes]:
    """The records of one bucket of the new index, from one of the old ones, with the new numbers of packs."""
    low = (bucket << (32 - bits)).to_bytes(5, "big")
    high = ((bucket + 1) << (32 - bits)).to_bytes(5, "big")
    shift = file.directory.bits - bits
    first = bucket << shift if shift >= 0 else bucket >> -shift
    last = ((bucket + 1) << shift) - 1 if shift >= 0 else first
    records = []
    for number in range(first, last + 1):
        for key, old, recipe in index.records(file.bucket(number)):
            if low <= b"\0" + key[:4] < high and numbers[old] >= 0:
                records.append(index.record(key, numbers[old], recipe))
    return records
