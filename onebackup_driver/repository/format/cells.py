# SPDX-License-Identifier: Apache-2.0
"""The cells of a restore point: which are there, their ids and where their recipes are."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from onebackup_driver.repository import problems
from onebackup_driver.repository.format.vault import CELL_ID_BYTES

_BIG_ENDIAN = array("H", [1]).tobytes() == b"\0\1"


#: When nobody says which blocks are zeros: the recipes do.
UNKNOWN = -1


class Cell(NamedTuple):
    """A cell with data: its number on the disk, id, number of its pack in the manifest, number of its recipe, which of
    its blocks are zeros (a bit for each, the first one the lowest; UNKNOWN in manifests of old)."""

    number: int
    cell_id: bytes
    pack: int
    recipe: int
    zeros: int


class Cells:
    """The cells with data of one disk, in order; all others are zeros. 40 bytes for each, and 8 for each gap; and
    `zeros_bytes` (a bit for each block) that say which blocks are zeros: none when that is not known."""

    def __init__(self, zeros_bytes: int = 0) -> None:
        self._starts = array("I")  # of runs of cells that follow each other: number of the first one,
        self._rows = array("I")  # and its row
        self.ids = bytearray()
        self.packs = array("I")
        self.recipes = array("I")
        self.zeros_bytes, self.zeros = zeros_bytes, bytearray()

    def __len__(self) -> int:
        return len(self.packs)

    def append(self, cell: Cell) -> None:
        """Add the next cell; numbers ascend."""
        number, cell_id, pack, recipe, zeros = cell
        if not self._starts or number != self._starts[-1] + len(self.packs) - self._rows[-1]:
            self._starts.append(number)
            self._rows.append(len(self.packs))
        self.ids += cell_id
        self.packs.append(pack)
        self.recipes.append(recipe)
        if self.zeros_bytes:
            self.zeros += zeros.to_bytes(self.zeros_bytes, "little")

    def row(self, number: int) -> int:
        """The row of the cell with this number; -1 when it is zeros."""
        run = bisect_right(self._starts, number) - 1
        if run < 0:
            return -1
        row = self._rows[run] + number - self._starts[run]
        end = self._rows[run + 1] if run + 1 < len(self._rows) else len(self.packs)
        return row if row < end else -1

    def cell_id(self, row: int) -> bytes:
        return bytes(self.ids[CELL_ID_BYTES * row : CELL_ID_BYTES * (row + 1)])

    def cell(self, number: int, row: int) -> Cell:
        """The cell with this number, which has this row."""
        zeros, size = UNKNOWN, self.zeros_bytes
        if size:
            zeros = int.from_bytes(self.zeros[size * row : size * (row + 1)], "little")
        return Cell(number, self.cell_id(row), self.packs[row], self.recipes[row], zeros)

    def __iter__(self) -> Iterator[Cell]:
        for run, start in enumerate(self._starts):
            end = self._rows[run + 1] if run + 1 < len(self._rows) else len(self.packs)
            for row in range(self._rows[run], end):
                yield self.cell(start + row - self._rows[run], row)

    def end(self) -> int:
        """The number behind that of the last cell."""
        return self._starts[-1] + len(self.packs) - self._rows[-1] if self._starts else 0

    def _is_ascending(self) -> bool:
        """Whether the runs cover all rows, and their numbers ascend without overlapping."""
        row = number = 0
        for run, (start, first) in enumerate(zip(self._starts, self._rows)):
            stop = self._rows[run + 1] if run + 1 < len(self._rows) else len(self.packs)
            if first != row or stop <= first or start < number:
                return False
            row, number = stop, start + stop - first
        return row == len(self.packs) and number <= 1 << 32

    def encode(self) -> bytes:
        """Counts of runs and cells, then column by column: starts, rows, packs, recipes (32 bit each), ids."""
        counts = array("I", [len(self._starts), len(self.packs)])
        columns = (counts, self._starts, self._rows, self.packs, self.recipes)
        return b"".join([_little_endian(column).tobytes() for column in columns] + [bytes(self.ids)])


def decode(encoded: bytes, zeros: bytes, name: str) -> Cells:
    """Read what `encode` made; `zeros`: that column, if there is one. Raises Damaged."""
    numbers = array("I")
    if len(encoded) < 8:
        raise problems.Damaged(name, "its cells are cut off")
    numbers.frombytes(encoded[:8])
    runs, count = _little_endian(numbers)
    end = 8 + 8 * runs + 8 * count
    if len(encoded) != end + CELL_ID_BYTES * count:
        raise problems.Damaged(name, "its cells are cut off")
    if zeros and (not count or len(zeros) % count):
        raise problems.Damaged(name, "its blocks of zeros are cut off")
    cells, offset = Cells(len(zeros) // count if count else 0), 8
    for column, length in ((cells._starts, runs), (cells._rows, runs), (cells.packs, count), (cells.recipes, count)):
        column.frombytes(encoded[offset : offset + 4 * length])
        if _BIG_ENDIAN:
            column.byteswap()
        offset += 4 * length
    cells.ids, cells.zeros = bytearray(encoded[end:]), bytearray(zeros)
    if not cells._is_ascending():
        raise problems.Damaged(name, "its cells are out of order")
    return cells


def _little_endian(numbers: array[int]) -> array[int]:
    if _BIG_ENDIAN:
        numbers = array("I", numbers)
        numbers.byteswap()
    return numbers
