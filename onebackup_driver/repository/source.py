# SPDX-License-Identifier: Apache-2.0
"""Images as extents of what a guest sees: only data is read, by several threads where it is needed.

    with source.open_image(path, "qcow2") as image:
        repository.save(image, image.size_bytes, parent, facts)      # asks image.confirm() before it publishes
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Optional

from onebackup_driver import commands, errors
from onebackup_driver.repository import problems
from onebackup_driver.repository.extent import Extent
from onebackup_driver.units import MIB

_CONVERT_TIMEOUT_S = 24 * 3600.0
_MAP_TIMEOUT_S = 1800.0
#: Address space, of which qemu-img uses a fraction; tables of an image that wants more were made to hurt.
QEMU_IMG_MEMORY_BYTES = 4 * 1024**3
_OUTPUT_BYTES = 1024 * 1024
#: The map of about 500,000 pieces. A disk in more of them is converted.
_MAP_BYTES = 48 * 1024 * 1024


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


class _Shifted:
    """A part of a disk that lies at another offset of its file."""

    def __init__(self, file: File, shift: int):
        self._file, self._shift = file, shift

    def read_into(self, view: memoryview, offset: int) -> None:
        self._file.read_into(view, offset + self._shift)


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
        file = _opened(stack, path)
        if image_format == "raw":
            return Image(file.state.size_bytes, [file], None, stack.pop_all())
        chain = _information(path, image_format)
        size_bytes = int(chain[0]["virtual-size"])
        files = [file] + [_opened(stack, Path(layer["filename"])) for layer in chain[1:]]
        found = _mapped(path, image_format, files)
        if found.parts is not None and _is_readable(chain):
            return Image(size_bytes, files, found.parts, stack.pop_all())
        return _converted(stack, path, image_format, files, temporary, found.data_bytes)


def _opened(stack: ExitStack, path: Path) -> File:
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


def _qemu_img(*words: str, timeout_s: float, output_bytes: int = _OUTPUT_BYTES) -> bytes:
    result = commands.run_limited(["qemu-img", *words], timeout_s, QEMU_IMG_MEMORY_BYTES, output_bytes)
    if result.code != 0:
        raise commands.CommandFailed(f"qemu-img {words[0]}: {result.last_words or f'exit code {result.code}'}")
    return result.output


def _information(path: Path, image_format: str) -> list[dict[str, Any]]:
    """The layers of an image, the top one first."""
    output = _qemu_img(
        "info", "--output=json", "--backing-chain", "-f", image_format, "--", str(path), timeout_s=_MAP_TIMEOUT_S
    )
    chain = json.loads(output)
    if not isinstance(chain, list) or not chain:
        raise commands.CommandFailed(f"qemu-img info said nothing of {path}")
    return chain


def _is_readable(chain: list[dict[str, Any]]) -> bool:
    """Whether mapped data lies as it is in the files: no encryption, no external data file, formats that map."""
    for layer in chain:
        data = layer.get("format-specific", {}).get("data", {})
        if layer["format"] not in ("qcow2", "raw") or layer.get("encrypted") or data.get("data-file"):
            return False
    return True


class _Map(NamedTuple):
    """Where the data of an image lies, None when some of it cannot be read in place (compressed); how much it is."""

    parts: Optional[list[Extent]]
    data_bytes: int


def _mapped(path: Path, image_format: str, files: list[File]) -> _Map:
    """From `qemu-img map`."""
    words = ("map", "--output=json", "-f", image_format, "--", str(path))
    try:
        output = _qemu_img(*words, timeout_s=_MAP_TIMEOUT_S, output_bytes=_MAP_BYTES)
    except commands.TooMuch:
        return _Map(None, sum(os.fstat(file.descriptor).st_blocks * 512 for file in files))
    parts: list[Extent] = []
    in_place, data_bytes = True, 0
    for found in _rows(output):
        if found["zero"] or not found["data"]:
            continue
        depth, data_bytes = int(found["depth"]), data_bytes + int(found["length"])
        in_place = in_place and "offset" in found and not found.get("compressed") and depth < len(files)
        if not in_place:
            continue
        reader = _Shifted(files[depth], int(found["offset"]) - int(found["start"]))
        parts.append(Extent(int(found["start"]), int(found["length"]), reader))
    return _Map(parts if in_place else None, data_bytes)


def _rows(output: bytes) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list as qemu-img writes it: one a line."""
    for line in output.splitlines():
        text = line.strip().strip(b"[],")
        if text:
            yield json.loads(text)


def _check_space(path: Path, folder: Path, needed: int) -> None:
    """Compressed clusters may be many times what they take. Raises Failed when the folder has no room for them."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise errors.Failed(
            f"{path} has to be unpacked first, into {needed // MIB} MiB in {folder}, where {free // MIB} are free"
        )


def _converted(
    stack: ExitStack, path: Path, image_format: str, files: list[File], temporary: Optional[Path], data_bytes: int
) -> Image:
    folder = tempfile.TemporaryDirectory(prefix="onebackup-image-", dir=temporary)
    raw = Path(stack.enter_context(folder)) / "disk.raw"
    _check_space(path, raw.parent, data_bytes)
    words = ("convert", "-f", image_format, "-O", "raw", "-S", "64k", "--", str(path), str(raw))
    _qemu_img(*words, timeout_s=_CONVERT_TIMEOUT_S)
    plain = _opened(stack, raw)
    return Image(plain.state.size_bytes, [plain, *files], None, stack.pop_all())
