# SPDX-License-Identifier: Apache-2.0
"""Indexes of a repository in a directory, and what is done to them."""

from __future__ import annotations

from pathlib import Path

from onebackup_driver.repository import repository, verify
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.repository import Repository

from . import disks

DISK = disks.content(8)
NEXT = disks.changed(DISK, 5)
DAMAGES = ("lost", "head", "bucket", "cut off")


def indexes(made: Repository) -> list[Path]:
    return sorted((made.store.root / "index").iterdir())  # type: ignore[attr-defined]


def reopened(made: Repository) -> Repository:
    return repository.open(made.store, disks.KEY if made.vault.encrypted else None)


def two_points(made: Repository) -> list[Manifest]:
    first = disks.save(made, DISK)
    return [first, disks.save(made, NEXT, first.name)]  # its recipes use packs of the first one


def harm(made: Repository, damage: str) -> None:
    """Each index in one of the ways DAMAGES."""
    for path in indexes(made):
        content = bytearray(path.read_bytes())
        path.unlink()
        if damage != "lost":
            content[40 if damage == "head" else -3] ^= 1
            path.write_bytes(content[:-5] if damage == "cut off" else content)


def finds_everything(whole: Repository, first: Manifest, second: Manifest) -> None:
    assert verify.verify(whole).is_whole
    again = disks.save(whole, NEXT)
    assert again.stored_bytes == 0, "everything is found again"
    for point, content in ((first, DISK), (second, NEXT), (again, NEXT)):
        assert disks.restored(whole, point) == content
