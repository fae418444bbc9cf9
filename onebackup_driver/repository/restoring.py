# SPDX-License-Identifier: Apache-2.0
"""Reading a whole restore point: its extents, and its data by several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable, Optional

from onebackup_driver.repository import reading
from onebackup_driver.repository.format.cells import UNKNOWN, Cell
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.manifests import Loaded

if TYPE_CHECKING:
    from onebackup_driver.repository.repository import Repository

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
    def __init__(self, repository: Repository, manifest: Manifest, write: Write, progress: Optional[Progress]):
        self._repository, self._manifest, self._write, self._progress = repository, manifest, write, progress
        self._loaded = repository.cells(manifest.name)
        self._cells = iter(self._loaded.cells)
        self._lock = threading.Lock()
        self._failure: Optional[BaseException] = None

    def run(self) -> None:
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._thread_count())]
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
        if self._failure is not None:
            raise self._failure

    def _thread_count(self) -> int:
        return max(1, min(self._repository.store.parallel, len(self._loaded.cells)))

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._failure = self._failure or error

    def _next(self) -> Optional[Cell]:
        with self._lock:
            cell = None if self._failure is not None else next(self._cells, None)
            if cell is not None and self._progress is not None:
                self._progress(cell.number * self._repository.parameters.cell_bytes, self._manifest.size_bytes)
            return cell

    def _work(self) -> None:
        try:
            repository = self._repository
            reader = reading.CellReader(repository.store, repository.vault, repository.parameters)
            while (cell := self._next()) is not None:
                self._copy(reader, cell)
        except BaseException as error:  # raised again by run
            self._fail(error)

    def _copy(self, reader: reading.CellReader, cell: Cell) -> None:
        recipe = self._repository.recipe(self._manifest.name, self._loaded, cell)
        data = reader.read(recipe)
        base = cell.number * self._repository.parameters.cell_bytes
        for begin, end in reading.data_runs(len(data), recipe.zeros(), self._repository.parameters.block_bytes):
            self._write(base + begin, data[begin:end])
