# SPDX-License-Identifier: Apache-2.0
"""Small disks for small repositories."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Optional

from onebackup_driver.repository.extent import Extent
from onebackup_driver.repository.format.header import Parameters
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.repository import Repository

#: As in a real repository, only smaller.
SMALL = Parameters(cell_bytes=64 * 1024, block_bytes=4096, pack_bytes=192 * 1024)
CELL, BLOCK = SMALL.cell_bytes, SMALL.block_bytes
KEY = bytes(range(32))


def content(cells: float, seed: int = 1) -> bytes:
    """Half of it compresses well."""
    source = random.Random(seed)
    size, made = int(cells * CELL), bytearray()
    while len(made) < size:
        made += source.randbytes(BLOCK + 8) + bytes([source.randrange(1, 256)]) * (BLOCK - 8)
    return bytes(made[:size])


def changed(disk: bytes, *places: int, seed: int = 2) -> bytes:
    """Ten bytes are other ones at each of these places."""
    source, made = random.Random(seed), bytearray(disk)
    for place in places:
        made[place : place + 10] = source.randbytes(len(made[place : place + 10]))
    return bytes(made)


def extents(disk: bytes, piece: int = 3 * CELL + 100) -> Iterator[Extent]:
    for offset in range(0, len(disk), piece):
        part = disk[offset : offset + piece]
        yield Extent(offset, len(part), part if any(part) else None)


def save(repository: Repository, disk: bytes, parent: Optional[str] = None, **facts: object) -> Manifest:
    return repository.save(extents(disk), len(disk), parent, dict(facts))


def restored(repository: Repository, manifest: Manifest) -> bytes:
    disk, lock = bytearray(manifest.size_bytes), threading.Lock()

    def write(offset: int, data: memoryview) -> None:
        with lock:
            disk[offset : offset + len(data)] = data

    repository.restore(manifest, write)
    return bytes(disk)
