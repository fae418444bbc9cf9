# SPDX-License-Identifier: Apache-2.0
"""A restore point as a file: cut into jobs of about one cell, which any thread can carry out in any order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple, Optional, Protocol

from onebackup_driver.gateway.layout import PIECE_BYTES, Layout, Piece, Raw
from onebackup_driver.gateway.qcow2 import Qcow2
from onebackup_driver.repository import reading, restoring
from onebackup_driver.repository.manifests import Loaded
from onebackup_driver.repository.repository import Repository

FORMATS = ("qcow2", "raw")


class Job(NamedTuple):
    """`length` bytes of the file, one after the other: `pieces` of cell `number`, or of no cell (-1)."""

    length: int
    number: int
    pieces: tuple[Piece, ...]


class Readers:
    """What puts cells together, shared by all who read one repository: as many as ever read at once."""

    def __init__(self, repository: Repository):
        self.repository = repository
        self._lock = threading.Lock()
        self._idle: list[reading.CellReader] = []

    def take(self) -> reading.CellReader:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return reading.CellReader(self.repository.store, self.repository.vault, self.repository.parameters)

    def give_back(self, reader: reading.CellReader) -> None:
        with self._lock:
            self._idle.append(reader)


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

    def read(self, number: int, parts: list[tuple[int, int]]) -> list[bytes]:
        """Parts (begin, end) of a cell, known to be what was saved."""


class Disk:
    """The cells of one disk. `name` is that of its manifest, for messages."""

    def __init__(self, readers: Readers, name: str, loaded: Loaded, size_bytes: int):
        self.name, self.size_bytes = name, size_bytes
        self.cell_bytes = readers.repository.parameters.cell_bytes
        self._readers, self._repository, self._loaded = readers, readers.repository, loaded

    def data_runs(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of what is not zeros, exact to a block. Raises Damaged, Missing."""
        return restoring.data_runs(self._repository, self.name, self._loaded, self.size_bytes)

    def read(self, number: int, parts: list[tuple[int, int]]) -> list[bytes]:
        """Parts (begin, end) of a cell, checked. Raises Damaged, Missing, StoreFailed."""
        row = self._loaded.cells.row(number)
        if row < 0:
            return [bytes(end - begin) for begin, end in parts]
        recipe = self._repository.recipe(self.name, self._loaded, self._loaded.cells.cell(number, row))
        reader = self._readers.take()
        try:
            data = reader.read(recipe)
            return [bytes(data[begin:end]) for begin, end in parts]
        finally:
            self._readers.give_back(reader)


class Content:
    """A file made of a disk; `kind` is one of FORMATS."""

    def __init__(self, disk: AnyDisk, kind: str):
        self.disk, self.kind = disk, kind
        self._layout: Layout = Qcow2(disk.size_bytes, disk.data_runs()) if kind == "qcow2" else Raw(disk.size_bytes)
        self.size_bytes = self._layout.size_bytes

    def jobs(self, begin: int = 0, end: Optional[int] = None) -> Iterator[Job]:
        """What has to be done for the bytes from `begin` to before `end`, in order."""
        number, length, pieces = -1, 0, list[Piece]()
        for of_cell, piece in self._cut(begin, self.size_bytes if end is None else end):
            if pieces and (of_cell != number or (number < 0 and length >= PIECE_BYTES)):
                yield Job(length, number, tuple(pieces))
                length, pieces = 0, []
            number = of_cell
            pieces.append(piece)
            length += piece.length
        if pieces:
            yield Job(length, number, tuple(pieces))

    def carry_out(self, job: Job) -> bytes:
        """The bytes of a job, each checked against its hash. Raises Damaged, Missing, StoreFailed."""
        if job.number < 0:
            return b"".join(piece.literal or b"" for piece in job.pieces)
        start = job.number * self.disk.cell_bytes
        parts = [(piece.disk_offset - start, piece.disk_offset - start + piece.length) for piece in job.pieces]
        found = self.disk.read(job.number, parts)
        return found[0] if len(found) == 1 else b"".join(found)

    def _cut(self, begin: int, end: int) -> Iterator[tuple[int, Piece]]:
        """Pieces with the cell that each is of, cut at the borders of cells."""
        cell_bytes = self.disk.cell_bytes
        for piece in self._layout.pieces(begin, end):
            if piece.literal is not None:
                yield -1, piece
                continue
            offset, left = piece.disk_offset, piece.length
            while left:
                number = offset // cell_bytes
                length = min(left, (number + 1) * cell_bytes - offset)
                yield number, Piece(length, offset, None)
                offset, left = offset + length, left - length
