# SPDX-License-Identifier: Apache-2.0
"""Images that only qemu-img can read: where their data lies, and what has to be converted first."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Optional

from onebackup_driver import commands, errors, scratch
from onebackup_driver.repository import source
from onebackup_driver.repository.extent import Extent
from onebackup_driver.units import MIB

_CONVERT_TIMEOUT_S = 24 * 3600.0
_MAP_TIMEOUT_S = 1800.0
#: Address space, of which qemu-img uses a fraction; tables of an image that wants more were made to hurt.
QEMU_IMG_MEMORY_BYTES = 4 * 1024**3
_OUTPUT_BYTES = 1024 * 1024
#: The map of about 500,000 pieces. A disk in more of them is converted.
_MAP_BYTES = 48 * 1024 * 1024


def opened(stack: ExitStack, file: source.File, image_format: str, temporary: Optional[Path]) -> source.Image:
    """See source.open_image."""
    chain = _information(file.path, image_format)
    size_bytes = int(chain[0]["virtual-size"])
    files = [file] + [source.opened(stack, Path(layer["filename"])) for layer in chain[1:]]
    found = _mapped(file.path, image_format, files)
    if found.parts is not None and _is_readable(chain):
        return source.Image(size_bytes, files, found.parts, stack.pop_all())
    return _converted(stack, file.path, image_format, files, temporary, found.data_bytes)


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


class _Shifted:
    """A part of a disk that lies at another offset of its file."""

    def __init__(self, file: source.File, shift: int):
        self._file, self._shift = file, shift

    def read_into(self, view: memoryview, offset: int) -> None:
        self._file.read_into(view, offset + self._shift)


class _Map(NamedTuple):
    """Where the data of an image lies, None when some of it cannot be read in place (compressed); how much it is."""

    parts: Optional[list[Extent]]
    data_bytes: int


def _mapped(path: Path, image_format: str, files: list[source.File]) -> _Map:
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
    stack: ExitStack, path: Path, image_format: str, files: list[source.File], temporary: Optional[Path], needed: int
) -> source.Image:
    raw = stack.enter_context(scratch.Folder("onebackup-image-", temporary)) / "disk.raw"
    _check_space(path, raw.parent, needed)
    words = ("convert", "-f", image_format, "-O", "raw", "-S", "64k", "--", str(path), str(raw))
    _qemu_img(*words, timeout_s=_CONVERT_TIMEOUT_S)
    plain = source.opened(stack, raw)
    return source.Image(plain.state.size_bytes, [plain, *files], None, stack.pop_all())
