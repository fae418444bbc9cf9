# SPDX-License-Identifier: Apache-2.0
"""A qcow2 file (version 3, qemu's docs/interop/qcow2.txt) of a disk of which only some parts are data.

Everything follows from the disk's size and its data runs: the same disk gives the same bytes each time, and any part
of the file can be had without the others. In order: header, refcount table, refcount blocks, L1 table, the L2 tables
that are needed, data clusters in the order of the disk. What is no data is not allocated: zeros.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator

from onebackup_driver.gateway.layout import Piece

CLUSTER_BYTES = 64 * 1024
_CLUSTER_BITS = 16
_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_REFCOUNTS_PER_BLOCK = CLUSTER_BYTES // 2
_ENTRIES = CLUSTER_BYTES // 8
_COPIED = 1 << 63
_SECTOR = 512
_ONES = b"\0\1"


class Qcow2:
    """The layout (layout.Layout) of a disk of `disk_bytes` with data in `runs`: (offset, length), ascending, not
    overlapping. 8 bytes of memory for each run."""

    def __init__(self, disk_bytes: int, runs: Iterable[tuple[int, int]]):
        self._disk_bytes = disk_bytes
        self._firsts, self._ranks, self._data_clusters = _clusters(runs)
        self._tables = self._needed_tables()
        self._l1_entries = max(1, -(-disk_bytes // (CLUSTER_BYTES * _ENTRIES)))
        l1_clusters = -(-self._l1_entries // _ENTRIES)
        others = 1 + l1_clusters + len(self._tables) + self._data_clusters
        table_clusters, blocks = _refcount_clusters(others)
        self._refcount_blocks, self._table_clusters = blocks, table_clusters
        self._l1_start = 1 + table_clusters + blocks
        self._l2_start = self._l1_start + l1_clusters
        self._data_start = self._l2_start + len(self._tables)
        self._total = self._data_start + self._data_clusters
        self.size_bytes = self._total * CLUSTER_BYTES

    def pieces(self, begin: int, end: int) -> Iterator[Piece]:
        """See layout.Layout."""
        position, end = begin, min(end, self.size_bytes)
        data = self._data_start * CLUSTER_BYTES
        while position < min(end, data):
            cluster, start = divmod(position, CLUSTER_BYTES)
            content = self._metadata(cluster)[start : start + end - position]
            yield Piece(len(content), 0, content)
            position += len(content)
        while position < end:
            piece = self._data(position - data, end - position)
            yield piece
            position += piece.length

    # -- metadata, cluster by cluster

    def _metadata(self, cluster: int) -> bytes:
        parts: list[tuple[int, Callable[[int], bytes]]] = [
            (self._l2_start, self._l2),
            (self._l1_start, self._l1),
            (1 + self._table_clusters, self._refcounts),
            (1, self._refcount_table),
            (0, self._header),
        ]
        start, make = next(part for part in parts if cluster >= part[0])
        return make(cluster - start).ljust(CLUSTER_BYTES, b"\0")

    def _header(self, _: int) -> bytes:
        size = -(-self._disk_bytes // _SECTOR) * _SECTOR
        return _HEADER.pack(
            _MAGIC, 3, 0, 0, _CLUSTER_BITS, size, 0,
            self._l1_entries, self._l1_start * CLUSTER_BYTES,
            CLUSTER_BYTES, self._table_clusters, 0, 0,
            0, 0, 0, 4, _HEADER.size,
        )  # fmt: skip

    def _refcount_table(self, number: int) -> bytes:
        first, end = number * _ENTRIES, min((number + 1) * _ENTRIES, self._refcount_blocks)
        start = 1 + self._table_clusters
        return _big_endian(array("Q", ((start + block) * CLUSTER_BYTES for block in range(first, end))))

    def _refcounts(self, number: int) -> bytes:
        return _ONES * min(_REFCOUNTS_PER_BLOCK, self._total - number * _REFCOUNTS_PER_BLOCK)

    def _l1(self, number: int) -> bytes:
        entries = array("Q", bytes(CLUSTER_BYTES))
        first = number * _ENTRIES
        for place in range(bisect_left(self._tables, first), bisect_left(self._tables, first + _ENTRIES)):
            entries[self._tables[place] - first] = (self._l2_start + place) * CLUSTER_BYTES | _COPIED
        return _big_endian(entries)

    def _l2(self, place: int) -> bytes:
        entries = array("Q", bytes(CLUSTER_BYTES))
        first = self._tables[place] * _ENTRIES
        run = max(0, bisect_right(self._firsts, first) - 1)
        while run < len(self._firsts) and self._firsts[run] < first + _ENTRIES:
            begin, stop = max(first, self._firsts[run]), min(first + _ENTRIES, self._end(run))
            host = (self._data_start + self._ranks[run] + begin - self._firsts[run]) * CLUSTER_BYTES | _COPIED
            if stop > begin:
                hosts = range(host, host + (stop - begin) * CLUSTER_BYTES, CLUSTER_BYTES)
                entries[begin - first : stop - first] = array("Q", hosts)
            run += 1
        return _big_endian(entries)

    def _needed_tables(self) -> array[int]:
        """Which parts of the disk have an L2 table: the numbers of those with data."""
        tables = array("I")
        for run, first in enumerate(self._firsts):
            for table in range(first // _ENTRIES, (self._end(run) - 1) // _ENTRIES + 1):
                if not tables or tables[-1] < table:
                    tables.append(table)
        return tables

    # -- data

    def _end(self, run: int) -> int:
        """The cluster of the disk behind a run."""
        stop = self._ranks[run + 1] if run + 1 < len(self._ranks) else self._data_clusters
        return self._firsts[run] + stop - self._ranks[run]

    def _data(self, offset: int, most: int) -> Piece:
        """What is at `offset` of the data clusters: up to the end of its run, at most `most` bytes."""
        rank, start = divmod(offset, CLUSTER_BYTES)
        run = bisect_right(self._ranks, rank) - 1
        position = (self._firsts[run] + rank - self._ranks[run]) * CLUSTER_BYTES + start
        length = min(most, self._end(run) * CLUSTER_BYTES - position)
        there = self._disk_bytes - position
        if there <= 0:
            return Piece(length, 0, bytes(length))  # the rest of the last cluster of a disk that ends within it
        return Piece(min(length, there), position, None)


def _clusters(runs: Iterable[tuple[int, int]]) -> tuple[array[int], array[int], int]:
    """Runs of clusters: the first cluster of each on the disk, how many there are before it; and how many in all."""
    firsts, ranks = array("I"), array("I")
    total = end = 0
    for offset, length in runs:
        first, stop = offset // CLUSTER_BYTES, -(-(offset + length) // CLUSTER_BYTES)
        first = max(first, end)
        if stop <= first:
            continue
        if first > end or not firsts:
            firsts.append(first)
            ranks.append(total)
        total += stop - first
        end = stop
    return firsts, ranks, total


def _refcount_clusters(others: int) -> tuple[int, int]:
    """How many clusters the refcount table and its blocks take, which count themselves too."""
    table = blocks = 1
    while True:
        needed = -(-(others + table + blocks) // _REFCOUNTS_PER_BLOCK)
        needed_table = -(-needed // _ENTRIES)
        if (needed, needed_table) == (blocks, table):
            return table, blocks
        blocks, table = max(needed, blocks), max(needed_table, table)


def _big_endian(numbers: array[int]) -> bytes:
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes()
