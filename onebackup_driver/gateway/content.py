# SPDX-License-Identifier: Apache-2.0
"""A restore point as a file: cut into jobs of about one cell, which any thread can carry out in any order."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from typing import NamedTuple, Optional, Protocol

from onebackup_driver.gateway.layout import PIECE_BYTES, Layout, Piece, Raw
from onebackup_driver.gateway.qcow2 import Qcow2
from onebackup_driver.repository import problems, reading, restoring
from onebackup_driver.repository.format.recipe import Recipe
from onebackup_driver.repository.manifests import Loaded
from onebackup_driver.repository.repository import Repository

FORMATS = ("qcow2", "raw")


#: In the place of a cell's number: bytes that are known already, and zeros.
LITERAL, ZEROS = -1, -2
#: So many zeros are one job.
_ZEROS_BYTES = 64 * 1024 * 1024
_ZERO_PIECE = memoryview(bytes(PIECE_BYTES))


class Job(NamedTuple):
    """`length` bytes of the file, one after the other: `pieces` of cell `number`, or LITERAL ones, or ZEROS."""

    length: int
    number: int
    pieces: tuple[Piece, ...]


class Readers:
    """What puts cells together, shared by all who read: each thread fetches into memory of its own, and as many cells
    are put together at once as there are processors."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._scratches: queue.SimpleQueue[reading.Scratch] = queue.SimpleQueue()
        for _ in range(max(2, len(os.sched_getaffinity(0)))):
            self._scratches.put(reading.Scratch())

    def read(self, repository: Repository, recipe: Recipe, buffer: memoryview) -> memoryview:
        """The bytes of a cell, in the buffer, checked. Raises Damaged, Missing, StoreFailed."""
        if not hasattr(self._own, "scratch"):
            self._own.scratch = reading.Scratch()
        stored = self._own.scratch.stored(reading.longest_frame(repository.parameters))
        fetched = reading.fetch_all(repository.store, recipe, stored)
        scratch = self._scratches.get()
        try:
            reader = reading.CellReader(repository.store, repository.vault, repository.parameters, scratch)
            return reader.read(recipe, fetched, buffer)
        finally:
            self._scratches.put(scratch)


class AnyDisk(Protocol):
    """What a file is made of; `name` is for messages."""

    @property
    def name(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def cell_bytes(self) -> int: ...

    def data_runs(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of what is not zeros, exact to a block."""

    def has(self, number: int) -> bool:
        """Whether a cell is anything but zeros."""

    def read(self, number: int, buffer: memoryview) -> memoryview:
        """A cell that it has, in the buffer, known to be what was saved."""


class Disk:
    """The cells of one disk. `name` is that of its manifest, for messages."""

    def __init__(self, readers: Readers, repository: Repository, name: str, loaded: Loaded, size_bytes: int):
        self.name, self.size_bytes = name, size_bytes
        self.cell_bytes = repository.parameters.cell_bytes
        self._readers, self._repository, self._loaded = readers, repository, loaded

    def data_runs(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of what is not zeros, exact to a block. Raises Damaged, Missing."""
        return restoring.data_runs(self._repository, self.name, self._loaded, self.size_bytes)

    def has(self, number: int) -> bool:
        """Whether a cell is anything but zeros."""
        return self._loaded.cells.row(number) >= 0

    def read(self, number: int, buffer: memoryview) -> memoryview:
        """A cell that it has, in the buffer, checked. Raises Damaged, Missing, StoreFailed."""
        cell = self._loaded.cells.cell(number, self._loaded.cells.row(number))
        return self._readers.read(self._repository, self._repository.recipe(self.name, self._loaded, cell), buffer)


class Content:
    """A file made of a disk; `kind` is one of FORMATS."""

    def __init__(self, disk: AnyDisk, kind: str):
        self.disk, self.kind = disk, kind
        self._layout: Layout = Qcow2(disk.size_bytes, disk.data_runs()) if kind == "qcow2" else Raw(disk.size_bytes)
        self.size_bytes = self._layout.size_bytes

    def jobs(self, begin: int = 0, end: Optional[int] = None) -> Iterator[Job]:
        """What has to be done for the bytes from `begin` to before `end`, in order."""
        number, length, pieces = LITERAL, 0, list[Piece]()
        for of_cell, piece in self._cut(begin, self.size_bytes if end is None else end):
            if pieces and (of_cell != number or length >= _MOST.get(number, length + 1)):
                yield Job(length, number, tuple(pieces))
                length, pieces = 0, []
            number = of_cell
            pieces.append(piece)
            length += piece.length
        if pieces:
            yield Job(length, number, tuple(pieces))

    def carry_out(self, job: Job, buffer: memoryview) -> list[memoryview]:
        """The bytes of a job one after the other, those of a cell checked: in `buffer`, which has room for a cell and
        must stay as it is while they are used. Raises Damaged, Missing, StoreFailed."""
        if job.number == ZEROS:
            whole, rest = divmod(job.length, len(_ZERO_PIECE))
            return [_ZERO_PIECE] * whole + [_ZERO_PIECE[:rest]]
        if job.number == LITERAL:
            return [memoryview(piece.literal or b"") for piece in job.pieces]
        data, start = self.disk.read(job.number, buffer), job.number * self.disk.cell_bytes
        parts = [data[piece.disk_offset - start :][: piece.length] for piece in job.pieces]
        if sum(map(len, parts)) != job.length:
            raise problems.Damaged(self.disk.name, f"cell {job.number} is shorter than its place on the disk")
        return parts

    def _cut(self, begin: int, end: int) -> Iterator[tuple[int, Piece]]:
        """Pieces with the cell that each is of (or LITERAL, or ZEROS), cut at the borders of cells."""
        cell_bytes = self.disk.cell_bytes
        for piece in self._layout.pieces(begin, end):
            if piece.literal is not None:
                yield LITERAL, piece
                continue
            offset, left = piece.disk_offset, piece.length
            while left:
                number = offset // cell_bytes
                length = min(left, (number + 1) * cell_bytes - offset)
                yield number if self.disk.has(number) else ZEROS, Piece(length, offset, None)
                offset, left = offset + length, left - length


#: Where jobs end that are of no cell.
_MOST = {LITERAL: PIECE_BYTES, ZEROS: _ZEROS_BYTES}
