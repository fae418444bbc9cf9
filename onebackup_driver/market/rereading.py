# SPDX-License-Identifier: Apache-2.0
"""The image that was saved, read once more: what the MD5 of the served file is computed from.

Reading it is quicker than fetching and decompressing what was stored; each cell is compared with the hash under which
it was stored, so it is the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from onebackup_driver.repository import cutting, problems, restoring
from onebackup_driver.repository.extent import Extent
from onebackup_driver.repository.manifests import Loaded
from onebackup_driver.repository.repository import Repository
from onebackup_driver.repository.source import Image


class SourceDisk:
    """Like gateway.content.Disk, but the bytes come from the image. For all threads."""

    def __init__(self, repository: Repository, loaded: Loaded, image: Image):
        self.name = "new"
        self.size_bytes, self.cell_bytes = image.size_bytes, repository.parameters.cell_bytes
        self._repository, self._loaded = repository, loaded
        self._extents = [extent for extent in image if extent.data is not None and extent.length]
        self._starts = [extent.offset for extent in self._extents]

    def data_runs(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of what is not zeros, exact to a block."""
        return restoring.data_runs(self._repository, "new", self._loaded, self.size_bytes)

    def has(self, number: int) -> bool:
        """Whether a cell is anything but zeros."""
        return self._loaded.cells.row(number) >= 0

    def read(self, number: int, buffer: memoryview) -> memoryview:
        """A cell that it has, in the buffer. Raises SourceChanged when it is not what was saved."""
        data = self._cell(number, buffer)
        if self._repository.vault.cell_id(data) != self._loaded.cells.cell_id(self._loaded.cells.row(number)):
            raise problems.SourceChanged(f"the image changed at byte {number * self.cell_bytes} while it was saved")
        return data

    def _cell(self, number: int, buffer: memoryview) -> memoryview:
        begin = number * self.cell_bytes
        end = min(begin + self.cell_bytes, self.size_bytes)
        job = cutting.Job(number, end - begin, list(self._pieces(begin, end)))
        return cutting.fill(job, self.cell_bytes, buffer)

    def _pieces(self, begin: int, end: int) -> Iterator[tuple[int, int, Extent]]:
        place = max(0, bisect_right(self._starts, begin) - 1)
        while place < len(self._extents) and self._starts[place] < end:
            extent = self._extents[place]
            first, last = max(begin, extent.offset), min(end, extent.offset + extent.length)
            if first < last:
                yield first, last, extent
            place += 1
