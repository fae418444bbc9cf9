# SPDX-License-Identifier: Apache-2.0
"""A file that is made of parts of a disk: what lies where in it. Pure; all numbers are bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Optional, Protocol

#: No piece is longer than this, so that nobody who carries one out needs much memory.
PIECE_BYTES = 1024 * 1024


class Piece(NamedTuple):
    """A part of the file: `literal` bytes, or `length` bytes of the disk from `disk_offset`."""

    length: int
    disk_offset: int
    literal: Optional[bytes]


class Layout(Protocol):
    """A file of `size_bytes`."""

    size_bytes: int

    def pieces(self, begin: int, end: int) -> Iterator[Piece]:
        """What the file has from byte `begin` to before `end`, in order and without gaps."""


class Raw:
    """The disk as it is. Zeros are pieces of the disk too."""

    def __init__(self, disk_bytes: int):
        self.size_bytes = disk_bytes

    def pieces(self, begin: int, end: int) -> Iterator[Piece]:
        """See Layout."""
        if end > begin:
            yield Piece(end - begin, begin, None)
