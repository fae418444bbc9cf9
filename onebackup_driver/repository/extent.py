# SPDX-License-Identifier: Apache-2.0
"""What a disk consists of, as a source hands it to `repository.save`."""

from __future__ import annotations

from typing import NamedTuple, Optional, Protocol, Union, runtime_checkable

Buffer = Union[bytes, bytearray, memoryview]


class Reader(Protocol):
    """Data that is read where and when it is needed, by several threads at once."""

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill `view` with the disk's bytes from `offset` (bytes from the disk's start). Raises SourceChanged."""


class Extent(NamedTuple):
    """A part of a disk: `length` bytes from `offset`; `data` is its bytes (not changed by anybody any more),
    a Reader that brings them, or None for zeros and holes."""

    offset: int
    length: int
    data: Optional[Union[bytes, bytearray, memoryview, Reader]]


@runtime_checkable
class Confirmable(Protocol):
    """A source that can say, after everything was read, whether what was read is whole."""

    def confirm(self) -> None:
        """Raises SourceChanged (or what made the producer fail) unless everything read belongs to one state."""
