# SPDX-License-Identifier: Apache-2.0
"""Reading a whole restore point: its extents, and its data by several threads."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable, Optional

from onebackup_driver.repository import reading
from onebackup_driver.repository.format.cells import UNKNOWN, Cell
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.manifests import Loaded

if TYPE_CHECKING:
    from onebackup_driver.repository.repository import Repository

#: So many cells before its first one the table of a pack is fetched.
_CELLS_AHEAD = 32
Write = Callable[[int, memoryview], None]
Progress = Callable[[int, int], None]


def extents(repository: Repository, manifest: Manifest) -> Iterator[tuple[int, int, bool]]:
    """(offset, length, zero?) of the whole disk."""
    begin = end = 0
    for start, length in data_runs(repository, manifest.name, repository.cells(manifest.name), manifest.size_bytes):
        if start > end:
            if end > begin:
                yield begin, end - begin, False
            yield end, start - end, True
            begin = start
        end = start + length
    if end > begin:
        yield begin, end - begin, False
    if manifest.size_bytes > end:
        yield end, manifest.size_bytes - end, True


def data_runs(repository: Repository, name: str, loaded: Loaded, size_bytes: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of what is not zeros on the disk with these cells, ascending, exact to a block.

    Only for manifests of old the packs are asked, which costs a request for each. Raises Damaged, Missing.
    """
    parameters = repository.parameters
    for cell in loaded.cells:
        base = cell.number * parameters.cell_bytes
        zeros = repository.recipe(name, loaded, cell).zeros() if cell.zeros == UNKNOWN else cell.zeros
        length = min(parameters.cell_bytes, size_bytes - base)
        for begin, end in reading.data_runs(length, zeros, parameters.block_bytes):
            yield base + begin, end - begin


def restore(repository: Repository, manifest: Manifest, write: Write, progress: Optional[Progress]) -> None:
    """See Repository.restore. The first failure of any thread ends all and is raised."""
    _Restoring(repository, manifest, write, progress).run()


class _Restoring:
    """As many threads fetch as the store is fast with, a cell's frames each; as many cells are put together at once as
    there are processors."""

    def __init__(self, repository: Repository, manifest: Manifest, write: Write, progress: Optional[Progress]):
        self._repository, self._manifest, self._write, self._progress = repository, manifest, write, progress
        self._loaded = repository.cells(manifest.name)
        self._cells = iter(self._loaded.cells)
        self._row = 0
        self._lock = threading.Lock()
        self._failure: Optional[BaseException] = None
        self._threads = max(1, min(repository.store.parallel, len(self._loaded.cells)))
        self._readers: queue.SimpleQueue[reading.CellReader] = queue.SimpleQueue()
        for _ in range(min(self._threads, max(2, len(os.sched_getaffinity(0))))):
            self._readers.put(reading.CellReader(repository.store, repository.vault, repository.parameters))
        self._tables = ThreadPoolExecutor(1, "tables")

    def run(self) -> None:
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._threads)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as error:  # a signal: the threads stop at their next cell
            self._fail(error)
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            raise
        finally:
            self._tables.shutdown(cancel_futures=True)
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = self._failure or error

    def _next(self) -> Optional[Cell]:
        with self._lock:
            cell = None if self._failure is not None else next(self._cells, None)
            if cell is not None:
                self._look_ahead()
                if self._progress is not None:
                    self._progress(cell.number * self._repository.parameters.cell_bytes, self._manifest.size_bytes)
            return cell

    def _look_ahead(self) -> None:
        """Have the table of a pack fetched before all threads wait for it."""
        packs, row = self._loaded.cells.packs, self._row + _CELLS_AHEAD
        if row < len(packs) and packs[row] != packs[row - 1] and packs[row] < len(self._loaded.entries):
            self._tables.submit(self._repository.tables.table, self._loaded.entries[packs[row]])
        self._row += 1

    def _work(self) -> None:
        try:
            buffer = memoryview(bytearray(reading.longest_frame(self._repository.parameters)))
            while (cell := self._next()) is not None:
                self._copy(cell, buffer)
        except BaseException as error:  # raised again by run
            self._fail(error)

    def _copy(self, cell: Cell, buffer: memoryview) -> None:
        repository = self._repository
        recipe = repository.recipe(self._manifest.name, self._loaded, cell)
        fetched = reading.fetch_all(repository.store, recipe, buffer)
        reader = self._readers.get()
        try:
            data = reader.read(recipe, fetched)
            base = cell.number * repository.parameters.cell_bytes
            for begin, end in reading.data_runs(len(data), recipe.zeros(), repository.parameters.block_bytes):
                self._write(base + begin, data[begin:end])
        finally:
            self._readers.put(reader)
