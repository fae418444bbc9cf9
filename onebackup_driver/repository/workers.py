# SPDX-License-Identifier: Apache-2.0
"""One thread of a save: reads a cell, hashes it, and stores it in a pack of its own when nobody knows it.

A full pack is published by a thread of its own while the next one is filled: waiting for the disk costs no time.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Optional

from onebackup_driver.repository import cutting, packing
from onebackup_driver.repository.format import pack

if TYPE_CHECKING:
    from onebackup_driver.repository.saving import Saving


class Place(NamedTuple):
    """Where the recipe of a cell is: number of the pack in this run's list, number of the recipe."""

    pack: int
    recipe: int


class Worker:
    """What one thread owns: a buffer, the cutter's buffers, its pack, and the one before it that is being published."""

    def __init__(self, run: Saving):
        self._run = run
        self._buffer = memoryview(bytearray(run.parameters.cell_bytes))
        self._cutter = packing.Cutter(run.keys, run.parameters)
        self._publisher = ThreadPoolExecutor(1, "publish")
        self._published: Optional[Future[None]] = None
        self._writer: Optional[packing.PackWriter] = None
        self._number = 0

    def save(self, row: int, job: cutting.Job) -> None:
        """Store the cell of a row, unless it is known or all zeros."""
        data = cutting.fill(job, self._run.parameters.cell_bytes, self._buffer)
        zeros = self._cutter.zero_blocks(data)
        if zeros + 1 == 1 << -(-len(data) // self._run.parameters.block_bytes):
            return
        cell_id = self._run.keys.cell_id(data)
        place = self._run.known(cell_id, job.number)
        if place is None:
            place = self._store(data, cell_id, job.number, zeros)
        self._run.place(row, cell_id, place, zeros)

    def _store(self, data: memoryview, cell_id: bytes, number: int, zeros: int) -> Place:
        writer = self._open_writer()
        before = writer.size_bytes
        made = self._cutter.cut(data, cell_id, zeros, self._run.related(number), writer)
        place = Place(self._number, writer.append_recipe(made))
        own = [frame for frame in made.frames if frame.pack_id == writer.pack_id and frame.offset >= before]
        self._run.stored(sum(frame.raw_bytes for frame in own))
        self._run.remember(cell_id, writer.pack_id, place)
        if writer.is_full(self._run.parameters.pack_bytes):
            self._publish()
        return place

    def _open_writer(self) -> packing.PackWriter:
        if self._writer is None:
            self._writer = packing.PackWriter(self._run.store, self._run.keys)
            self._number = self._run.packs.number(pack.Entry(self._writer.pack_id, 0, 0, 0))
        return self._writer

    def _publish(self) -> None:
        """Hand the pack over, once the one before it is there."""
        self._wait()
        if self._writer is not None:
            self._published = self._publisher.submit(self._run.publish, self._writer)
            self._writer = None

    def _wait(self) -> None:
        published, self._published = self._published, None
        if published is not None:
            published.result()

    def finish(self) -> None:
        """All packs are published when this returns. Raises StoreFailed."""
        self._publish()
        self._wait()

    def close(self) -> None:
        """Forget a pack that was not finished; nothing goes on in the background afterwards."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
        self._publisher.shutdown()
