# SPDX-License-Identifier: Apache-2.0
"""Saving a disk: threads take cells in turn; what is known is referred to, what is new goes into their packs."""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Iterable
from typing import Callable, NamedTuple, Optional

from onebackup_driver.repository import cutting, packing, problems, workers
from onebackup_driver.repository.extent import Extent
from onebackup_driver.repository.format import header, index, pack, vault
from onebackup_driver.repository.format.cells import Cell, Cells
from onebackup_driver.repository.format.recipe import Recipe
from onebackup_driver.repository.lookup import Found, Lookup
from onebackup_driver.repository.reading import Tables
from onebackup_driver.repository.stores import base

Progress = Callable[[int, int], None]
#: Cells of this run that are found again within it; beyond this many only those of earlier runs are.
_REMEMBERED = 200_000
#: How far from cells that were found blocks are looked for when there is no parent.
_NEAR_PACKS = 4
_NEAR_RECIPES = 6
_NOWHERE = 0xFFFFFFFF


class Parent(NamedTuple):
    """The restore point that this one is compared with, cell by cell."""

    cells: Cells
    entries: list[pack.Entry]


class Saved(NamedTuple):
    """What a run made. `own`: the packs written, `used`: which other packs they use, `records`: their cells."""

    cells: Cells
    entries: list[pack.Entry]
    own: list[pack.Entry]
    used: dict[bytes, list[bytes]]
    records: list[tuple[bytes, bytes, int]]
    new_bytes: int
    data_bytes: int


class PackList:
    """The packs that a restore point refers to, numbered as they are met. For all threads."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._entries: list[pack.Entry] = []
        self._lock = threading.Lock()

    def number(self, entry: pack.Entry) -> int:
        with self._lock:
            number = self._numbers.setdefault(entry.pack_id, len(self._entries))
            if number == len(self._entries):
                self._entries.append(entry)
            return number

    def update(self, entry: pack.Entry) -> None:
        with self._lock:
            self._entries[self._numbers[entry.pack_id]] = entry

    def compact(self, rows: array[int]) -> tuple[list[pack.Entry], dict[int, int]]:
        """The entries that rows name, and their new numbers."""
        used = sorted(set(rows) - {_NOWHERE})
        return [self._entries[number] for number in used], {old: new for new, old in enumerate(used)}


class Saving:
    """One run. All its state is here; `run` is called once."""

    def __init__(
        self,
        store: base.Store,
        keys: vault.Vault,
        parameters: header.Parameters,
        lookup: Lookup,
        tables: Tables,
        parent: Optional[Parent],
    ):
        self.store, self.keys, self.parameters = store, keys, parameters
        self.lookup, self.tables, self.parent = lookup, tables, parent
        self.packs = PackList()
        self.own: list[pack.Entry] = []
        self.used: dict[bytes, list[bytes]] = {}
        self.records: list[tuple[bytes, bytes, int]] = []
        self.new_bytes = 0
        self._numbers, self._places = array("I"), (array("I"), array("I"))
        self._ids = bytearray()
        self._zeros, self._zeros_bytes = bytearray(), -(-parameters.cell_bytes // parameters.block_bytes // 8)
        self._recent: dict[bytes, workers.Place] = {}
        self._near: dict[bytes, Found] = {}
        self._lock = threading.Lock()
        self._failure: Optional[BaseException] = None

    def run(self, stream: Iterable[Extent], size_bytes: int, progress: Optional[Progress]) -> Saved:
        """Save all cells; every pack is published when this returns. The first failure of any thread is raised."""
        self._jobs = cutting.jobs(stream, size_bytes, self.parameters.cell_bytes)
        self._progress, self._size_bytes = progress, size_bytes
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(thread_count())]
        try:
            for thread in threads:
                thread.start()
        finally:
            self._join(threads)
        if self._failure is not None:
            raise self._failure
        return self._saved(size_bytes)

    def _join(self, threads: list[threading.Thread]) -> None:
        try:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        except BaseException as error:  # a signal: the threads stop at their next cell
            self._fail(error)
            for thread in threads:
                thread.join()
            raise

    def _work(self) -> None:
        worker = None
        try:
            worker = workers.Worker(self)
            while (taken := self._next()) is not None:
                worker.save(*taken)
            if self._failure is None:
                worker.finish()
        except BaseException as error:  # raised again by run
            self._fail(error)
        finally:
            if worker is not None:
                worker.close()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = self._failure or error

    def _next(self) -> Optional[tuple[int, cutting.Job]]:
        with self._lock:
            if self._failure is not None:
                return None
            job = next(self._jobs, None)
            if job is None:
                return None
            row = len(self._numbers)
            self._numbers.append(job.number)
            for column in self._places:
                column.append(_NOWHERE)
            self._ids += bytes(vault.CELL_ID_BYTES)
            self._zeros += bytes(self._zeros_bytes)
            if self._progress is not None:
                self._progress(job.number * self.parameters.cell_bytes, self._size_bytes)
            return row, job

    def known(self, cell_id: bytes, number: int) -> Optional[workers.Place]:
        """Where a cell is stored already: in the parent at the same place, in this run, or anywhere."""
        entry, recipe = self.of_parent(number, cell_id)
        if entry is not None:
            return workers.Place(self.packs.number(entry), recipe)
        place = self._recent.get(cell_id)
        if place is None and (found := self.lookup.find(cell_id)) is not None:
            place = workers.Place(self.packs.number(found.entry), found.recipe)
            self._near = {found.entry.pack_id: found, **self._near}
        return place

    def related(self, number: int) -> list[Recipe]:
        """Recipes that may share blocks with a new cell: the parent's at its place, else those that were stored close
        to cells found lately (of the VM that this one is a clone of)."""
        entry, recipe = self.of_parent(number)
        if entry is not None:
            return self._recipes(Found(entry, recipe), 0, 1)
        self._near = near = dict(list(self._near.items())[:_NEAR_PACKS])
        return [found for hit in near.values() for found in self._recipes(hit, -_NEAR_RECIPES, _NEAR_RECIPES)]

    def _recipes(self, found: Found, begin: int, end: int) -> list[Recipe]:
        try:
            count = len(self.tables.table(found.entry).offsets)
            numbers = range(max(0, found.recipe + begin), min(count, found.recipe + end))
            recipes = [self.tables.recipe(found.entry, number) for number in numbers]
        except (problems.Damaged, problems.Missing):
            return []  # verify says so; what is here is whole, and is stored again
        avoided = self.lookup.avoided
        return [made for made in recipes if avoided.isdisjoint([frame.pack_id for frame in made.frames])]

    def of_parent(self, number: int, cell_id: Optional[bytes] = None) -> tuple[Optional[pack.Entry], int]:
        """The parent's cell with this number, when it is this cell (None: whatever it is) and may be referred to."""
        if self.parent is None or (row := self.parent.cells.row(number)) < 0:
            return None, 0
        if cell_id is not None and self.parent.cells.cell_id(row) != cell_id:
            return None, 0
        entry = self.parent.entries[self.parent.cells.packs[row]]
        if entry.pack_id in self.lookup.avoided:
            return None, 0
        return entry, self.parent.cells.recipes[row]

    def place(self, row: int, cell_id: bytes, place: workers.Place, zeros: int) -> None:
        """Say where the cell of this row is, and which of its blocks are zeros."""
        size = self._zeros_bytes
        self._zeros[size * row : size * (row + 1)] = zeros.to_bytes(size, "little")
        self._ids[vault.CELL_ID_BYTES * row : vault.CELL_ID_BYTES * (row + 1)] = cell_id
        self._places[0][row], self._places[1][row] = place

    def remember(self, cell_id: bytes, pack_id: bytes, place: workers.Place) -> None:
        """A cell that this run has stored."""
        self.records.append((cell_id[: index.KEY_BYTES], pack_id, place.recipe))
        if len(self._recent) < _REMEMBERED:
            self._recent[cell_id] = place

    def publish(self, writer: packing.PackWriter) -> None:
        """Publish a pack. Raises StoreFailed; then it is abandoned."""
        try:
            entry = writer.finish()
        except BaseException:
            writer.abandon()
            raise
        self.packs.update(entry)
        with self._lock:
            self.own.append(entry)
            self.used[entry.pack_id] = writer.used_packs()

    def stored(self, new_bytes: int) -> None:
        with self._lock:
            self.new_bytes += new_bytes

    def _saved(self, size_bytes: int) -> Saved:
        entries, numbers = self.packs.compact(self._places[0])
        cells, data_bytes, size = Cells(self._zeros_bytes), 0, self._zeros_bytes
        for row, number in enumerate(self._numbers):
            if self._places[0][row] == _NOWHERE:
                continue
            start = vault.CELL_ID_BYTES * row
            cell_id = bytes(self._ids[start : start + vault.CELL_ID_BYTES])
            zeros = int.from_bytes(self._zeros[size * row : size * (row + 1)], "little")
            cells.append(Cell(number, cell_id, numbers[self._places[0][row]], self._places[1][row], zeros))
            data_bytes += min(self.parameters.cell_bytes, size_bytes - number * self.parameters.cell_bytes)
        return Saved(cells, entries, self.own, self.used, self.records, self.new_bytes, data_bytes)


def thread_count() -> int:
    """Threads that hash and compress at once; each needs about three cells of memory."""
    return max(1, min(4, len(os.sched_getaffinity(0))))
