# SPDX-License-Identifier: Apache-2.0
"""From extents to cells: the stream of a disk cut at the borders of cells, each with what fills it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from onebackup_driver.repository import problems
from onebackup_driver.repository.extent import Extent


class Job(NamedTuple):
    """A cell that is not known to be zeros: its number, its length, and (begin, end, extent) on the disk."""

    number: int
    length: int
    pieces: list[tuple[int, int, Extent]]


def jobs(stream: Iterable[Extent], size_bytes: int, cell_bytes: int) -> Iterator[Job]:
    """The cells of a stream, ascending. Raises SourceChanged for extents out of order or beyond the disk's end."""
    pieces: list[tuple[int, int, Extent]] = []
    current = position = 0
    for extent in stream:
        end = extent.offset + extent.length
        if extent.offset < position or extent.length < 0 or end > size_bytes:
            raise problems.SourceChanged(f"the source gave {extent.length} bytes at {extent.offset}: out of place")
        position = extent.offset
        while position < end and extent.data is not None:
            number = position // cell_bytes
            if number != current and pieces:
                yield Job(current, min(cell_bytes, size_bytes - current * cell_bytes), pieces)
                pieces = []
            current, stop = number, min(end, (number + 1) * cell_bytes)
            pieces.append((position, stop, extent))
            position = stop
        position = end
    if pieces:
        yield Job(current, min(cell_bytes, size_bytes - current * cell_bytes), pieces)


def fill(job: Job, cell_bytes: int, buffer: memoryview) -> memoryview:
    """The bytes of a cell, in the buffer. Raises what its source raises."""
    start = position = job.number * cell_bytes
    for begin, end, extent in job.pieces:
        if begin > position:
            buffer[position - start : begin - start] = bytes(begin - position)
        view = buffer[begin - start : end - start]
        if isinstance(extent.data, (bytes, bytearray, memoryview)):
            _copy(extent, begin, end, view)
        elif extent.data is not None:  # a Reader: to ask whether it is one takes longer than many a read
            extent.data.read_into(view, begin)
        position = end
    if position - start < job.length:
        buffer[position - start : job.length] = bytes(job.length - (position - start))
    return buffer[: job.length]


def _copy(extent: Extent, begin: int, end: int, view: memoryview) -> None:
    assert isinstance(extent.data, (bytes, bytearray, memoryview))
    if len(extent.data) != extent.length:
        raise problems.SourceChanged(
            f"the source gave {len(extent.data)} of {extent.length} bytes at {extent.offset}: it ended early"
        )
    view[:] = memoryview(extent.data)[begin - extent.offset : end - extent.offset]
