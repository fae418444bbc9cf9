# SPDX-License-Identifier: Apache-2.0
"""What manifests say without the packs; and manifests as they were before they had finer names and blocks of zeros."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Optional

import pytest
from blake3 import blake3

from onebackup_driver.repository import manifests, problems, repository
from onebackup_driver.repository.format import container
from onebackup_driver.repository.format import manifest as manifest_format

from . import disks
from .disks import BLOCK, CELL
from .stores import Counted

#: Blocks of zeros in the middle, at the end of a cell, and a last cell that ends within a block of zeros.
DISK = disks.changed(bytes(5 * CELL + BLOCK + 100), 3 * BLOCK, CELL + 5, 2 * CELL - BLOCK, 5 * CELL)
RUNS = [
    (0, 3 * BLOCK, True), (3 * BLOCK, BLOCK, False), (4 * BLOCK, CELL - 4 * BLOCK, True), (CELL, BLOCK, False),
    (CELL + BLOCK, CELL - 2 * BLOCK, True), (2 * CELL - BLOCK, BLOCK, False), (2 * CELL, 3 * CELL, True),
    (5 * CELL, BLOCK, False), (5 * CELL + BLOCK, 100, True),
]  # fmt: skip


def as_of_old(made: repository.Repository, name: str) -> str:
    """The same restore point as versions before wrote it: its name has whole seconds, its manifest three sections."""
    magic, vault, stored = b"OBMANI01", made.vault, made.store.get(f"manifests/{name}")
    places = container.decode(magic, vault, stored, (4,), name)
    head, packs, cells, _ = (stored[offset : offset + length] for offset, length in places.sections)
    said = json.loads(container.open_section(magic, vault, places.object_id, 0, head, name))
    del said["micros"], said["sections"][2]
    sealed = container.seal(magic, vault, places.object_id, 0, json.dumps(said).encode())
    stamp = datetime.fromtimestamp(said["created"], timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    old = f"{stamp}-{blake3(places.object_id + sealed).hexdigest()[:32]}"
    assert made.store.put(f"manifests/{old}", container.encode(magic, vault, places.object_id, [sealed, packs, cells]))
    made.delete(name)
    return old


def pack_reads(made: repository.Repository, key: Optional[bytes]) -> tuple[repository.Repository, list[str]]:
    """The repository opened again, and a list of the packs that are read."""
    read: list[str] = []
    counted = Counted(
        made.store, lambda number, when, kind, name: read.append(name) if name.startswith("packs/") else None
    )
    return repository.open(counted, key), read


def test_where_data_lies_is_known_without_the_packs(small: repository.Repository, key: Optional[bytes]) -> None:
    point = disks.save(small, DISK)
    opened, read = pack_reads(small, key)
    assert list(opened.extents(opened.load(point.name))) == RUNS and read == []
    assert disks.restored(opened, point) == DISK and read


def test_names_sort_as_they_were_made(small: repository.Repository) -> None:
    made = [disks.save(small, disks.content(0.1, seed=seed)).name for seed in range(5)]
    assert small.names() == made


def test_a_manifest_of_old(small: repository.Repository, key: Optional[bytes]) -> None:
    old = as_of_old(small, disks.save(small, DISK).name)
    opened, read = pack_reads(small, key)
    point = opened.load(old)
    assert opened.names() == [old] and point.name == old and point.micros is None
    assert list(opened.extents(point)) == RUNS and read
    assert disks.restored(opened, point) == DISK
    second = disks.save(opened, disks.changed(DISK, 9), old)
    assert second.parent == old and second.new_bytes == BLOCK
    assert disks.restored(opened, second) == disks.changed(DISK, 9)


def test_blocks_of_zeros_that_are_none(small: repository.Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that gives data out for zeros would make restores without it: nobody believes the manifest alone."""
    real = manifest_format.encode

    def lying(*values: object) -> object:
        cells = values[3]
        cells.zeros[0] |= 1 << 3  # type: ignore[attr-defined]
        return real(*values)  # type: ignore[arg-type]

    monkeypatch.setattr(manifest_format, "encode", lying)
    point = disks.save(small, DISK)
    with pytest.raises(problems.Damaged, match="blocks of zeros"):
        disks.restored(small, point)


def test_a_manifest_is_fetched_in_two_requests(small: repository.Repository, key: Optional[bytes]) -> None:
    point = disks.save(small, DISK)
    requests: list[str] = []
    counted = Counted(small.store, lambda number, when, kind, name: requests.append(name))
    _, loaded = manifests.load(counted, small.vault, point.name)
    assert len(loaded.cells) == 3 and requests == [f"manifests/{point.name}"] * 2
