# SPDX-License-Identifier: Apache-2.0
"""Images as extents of what a guest sees: only data is read, by several threads where it is needed.

with source.open_image(path, "qcow2") as image:
    repository.save(image, image.size_bytes, parent, facts)      # asks image.confirm() before it publishes
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Optional

from onebackup_driver.repository import problems
from onebackup_driver.repository.extent import Extent


class State(NamedTuple):
    """What of a file must stay as it is while it is read."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int


class File:
    """A file of an image chain, opened once and read by position."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise problems.SourceChanged(f"cannot read {path}: {error.strerror}") from error
        self.state = _state(self.descriptor)
        os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill the view from this offset of the file. Raises SourceChanged when the file ends before."""
        try:
            while view:
                count = os.preadv(self.descriptor, [view], offset)
                if count == 0:
                    raise problems.SourceChanged(f"{self.path} ends early, at byte {offset}")
                view, offset = view[count:], offset + count
        except OSError as error:
            raise problems.SourceChanged(f"{self.path} cannot be read at byte {offset}: {error.strerror}") from error

    def confirm(self) -> None:
        """Raises SourceChanged when the file is not what it was when it was opened."""
        if _state(self.descriptor) != self.state or _path_state(self.path) != self.state:
            raise problems.SourceChanged(f"{self.path} changed while it was read")

    def close(self) -> None:
        os.close(self.descriptor)


class Image:
    """An opened image: iterate over it for its extents (once or more often), then ask confirm. A context manager."""

    def __init__(self, size_bytes: int, files: list[File], parts: Optional[list[Extent]], stack: ExitStack):
        self.size_bytes = size_bytes
        self._files, self._parts, self._stack = files, parts, stack

    def __iter__(self) -> Iterator[Extent]:
        return iter(self._parts) if self._parts is not None else _raw_extents(self._files[0], self.size_bytes)

    def confirm(self) -> None:
        """Raises SourceChanged when a file of the image changed since it was opened."""
        for file in self._files:
            file.confirm()

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_image(path: Path, image_format: str, temporary: Optional[Path] = None) -> Image:
    """Open an image of a format that qemu-img knows; "raw" and "qcow2" are read in place.

    What else there is (compressed clusters, other formats) is first converted into a sparse file in the directory
    `temporary` (by default $TMPDIR). Raises SourceChanged when it cannot be read, CommandFailed, TimedOut.
    """
    with ExitStack() as stack:
        file = opened(stack, path)
        if image_format == "raw":
            return Image(file.state.size_bytes, [file], None, stack.pop_all())
        from onebackup_driver.repository import qemu_image  # what it needs takes longer to load than a small raw disk

        return qemu_image.opened(stack, file, image_format, temporary)


def opened(stack: ExitStack, path: Path) -> File:
    """A file, closed with the stack. Raises SourceChanged when it cannot be read."""
    file = File(path)
    stack.callback(file.close)
    return file


def _raw_extents(file: File, size_bytes: int) -> Iterator[Extent]:
    position = 0
    while position < size_bytes:
        begin, end = _next_data(file.descriptor, position, size_bytes)
        if begin >= size_bytes:
            return
        yield Extent(begin, end - begin, file)
        position = end


def _next_data(descriptor: int, position: int, size_bytes: int) -> tuple[int, int]:
    """Where the next data begins and ends; `size_bytes` twice when only a hole follows.

    What cannot tell its holes (block devices, some network file systems) is data to its end: never taken for zeros.
    """
    try:
        begin = os.lseek(descriptor, position, os.SEEK_DATA)
        end = os.lseek(descriptor, begin, os.SEEK_HOLE)
    except OSError as error:
        return (size_bytes if error.errno == errno.ENXIO else position), size_bytes
    return (begin, min(end, size_bytes)) if end > begin else (position, size_bytes)


def _state(descriptor: int) -> State:
    status = os.fstat(descriptor)
    size = status.st_size or os.lseek(descriptor, 0, os.SEEK_END)  # a block device has none in its inode
    return State(status.st_dev, status.st_ino, size, status.st_mtime_ns)


def _path_state(path: Path) -> Optional[State]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _state(descriptor)
    finally:
        os.close(descriptor)
