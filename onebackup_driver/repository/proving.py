# SPDX-License-Identifier: Apache-2.0
"""Proving a new restore point before it is published.

What this run has stored is read back, every byte of it. What earlier runs stored was read back by them, and is read
again by verify; of it is proven that everything is there: the tables of the packs are read, and each pack that a cell
needs has the bytes it needs. So a backup of a disk that hardly changed does not fetch the whole disk.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from onebackup_driver.repository import problems, restoring
from onebackup_driver.repository.format import pack
from onebackup_driver.repository.format.cells import Cell
from onebackup_driver.repository.format.recipe import Recipe
from onebackup_driver.repository.manifests import Loaded
from onebackup_driver.repository.saving import Saved

if TYPE_CHECKING:
    from onebackup_driver.repository.repository import Repository


def prove(repository: Repository, saved: Saved) -> None:
    """For save(complete=…). Raises Damaged or Missing when the restore point could not be read, StoreFailed."""
    proof = _Proof(repository, saved)
    proof.run()
    with ThreadPoolExecutor(repository.store.parallel) as pool:
        list(pool.map(proof.check_size, proof.needed.items()))


class _Proof(restoring.EachCell):
    def __init__(self, repository: Repository, saved: Saved):
        super().__init__(repository, "new", Loaded(saved.cells, saved.entries))
        self._own = {entry.pack_id for entry in saved.own}
        self._sizes = {entry.pack_id: entry.size_bytes for entry in saved.entries}
        self._noting = threading.Lock()
        #: Where the last byte that is needed of each pack of an earlier run ends.
        self.needed: dict[bytes, int] = {}

    def each(self, cell: Cell, recipe: Recipe, buffer: memoryview) -> None:
        pack_id = self.loaded.entries[cell.pack].pack_id
        if pack_id in self._own:
            with self.content(recipe, buffer):
                return
        with self._noting:
            self.needed.setdefault(pack_id, 0)
            for frame in recipe.frames:
                end = frame.offset + frame.stored_bytes
                self.needed[frame.pack_id] = max(end, self.needed.get(frame.pack_id, 0))

    def check_size(self, needed: tuple[bytes, int]) -> None:
        pack_id, end = needed
        name = pack.name_of(pack_id)
        size = self.repository.store.size(name)
        if size < end or size != self._sizes.get(pack_id, size):
            raise problems.Damaged(name, "it is cut off")
