# SPDX-License-Identifier: Apache-2.0
"""Reading a whole restore point: where its data lies, and its cells by several threads."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable, Optional

from onebackup_driver.repository import reading
from onebackup_driver.repository.format.cells import UNKNOWN, Cell
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.format.recipe import Recipe
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


class EachCell:
    """Something is done with each cell of a restore point: as many threads fetch as the store is fast with, and as many
    cells are put together at once as there are processors."""

    def __init__(self, repository: Repository, name: str, loaded: Loaded):
        self.repository, self.name, self.loaded = repository, name, loaded
        self._cells = iter(loaded.cells)
        self._ahead: deque[Cell] = deque()
        self._expected = -1
        self._lock = threading.Lock()
        self._failure: Optional[BaseException] = None
        self._threads = max(1, min(repository.store.parallel, len(loaded.cells)))
        self._readers: queue.SimpleQueue[reading.CellReader] = queue.SimpleQueue()
        for _ in range(min(self._threads, max(2, len(os.sched_getaffinity(0))))):
            self._readers.put(reading.CellReader(repository.store, repository.vault, repository.parameters))
        self._tables = ThreadPoolExecutor(1, "tables")

    def each(self, cell: Cell, recipe: Recipe, buffer: memoryview) -> None:
        """What is done with a cell, by any thread; `buffer` has room for a frame."""
        raise NotImplementedError

    def taken(self, cell: Cell) -> None:
        """Called with each cell in turn, by one thread at a time."""

    def run(self) -> None:
        """Return when all cells are done. The first failure of any thread ends all and is raised."""
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

    @contextmanager
    def content(self, recipe: Recipe, buffer: memoryview) -> Iterator[memoryview]:
        """The bytes of a cell, checked. Raises Damaged, Missing, StoreFailed."""
        fetched = reading.fetch_all(self.repository.store, recipe, buffer)
        reader = self._readers.get()
        try:
            yield reader.read(recipe, fetched)
        finally:
            self._readers.put(reader)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = self._failure or error

    def _next(self) -> Optional[Cell]:
        with self._lock:
            if self._failure is not None:
                return None
            while len(self._ahead) <= _CELLS_AHEAD and (coming := next(self._cells, None)) is not None:
                self._expect(coming)
                self._ahead.append(coming)
            cell = self._ahead.popleft() if self._ahead else None
            if cell is not None:
                self.taken(cell)
            return cell

    def _expect(self, cell: Cell) -> None:
        """Have the table of a pack fetched before all threads wait for it."""
        if cell.pack != self._expected and cell.pack < len(self.loaded.entries):
            self._tables.submit(self.repository.tables.table, self.loaded.entries[cell.pack])
        self._expected = cell.pack

    def _work(self) -> None:
        try:
            buffer = memoryview(bytearray(reading.longest_frame(self.repository.parameters)))
            while (cell := self._next()) is not None:
                self.each(cell, self.repository.recipe(self.name, self.loaded, cell), buffer)
        except BaseException as error:  # raised again by run
            self._fail(error)


class _Restoring(EachCell):
    def __init__(self, repository: Repository, manifest: Manifest, write: Write, progress: Optional[Progress]):
        super().__init__(repository, manifest.name, repository.cells(manifest.name))
        self._write, self._progress, self._size_bytes = write, progress, manifest.size_bytes

    def taken(self, cell: Cell) -> None:
        if self._progress is not None:
            self._progress(cell.number * self.repository.parameters.cell_bytes, self._size_bytes)

    def each(self, cell: Cell, recipe: Recipe, buffer: memoryview) -> None:
        parameters = self.repository.parameters
        base = cell.number * parameters.cell_bytes
        with self.content(recipe, buffer) as data:
            for begin, end in reading.data_runs(len(data), recipe.zeros(), parameters.block_bytes):
                self._write(base + begin, data[begin:end])
