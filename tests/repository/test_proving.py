# SPDX-License-Identifier: Apache-2.0
"""A restore point that could not be read is not published; what did not change is not fetched for that."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Callable, Optional

import pytest

from onebackup_driver.repository import problems, proving, repository
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.saving import Saved
from onebackup_driver.repository.stores import base

from . import disks
from .disks import BLOCK, CELL
from .stores import Counted

DISK = disks.content(40)
NEXT = disks.changed(DISK, 5, 20 * CELL)


def save(made: repository.Repository, disk: bytes, parent: Optional[str] = None) -> Manifest:
    def complete(saved: Saved) -> dict[str, object]:
        proving.prove(made, saved)
        return {"proven": True}

    return made.save(disks.extents(disk), len(disk), parent, complete=complete)


def paths(made: repository.Repository) -> set[Path]:
    return {path for path in made.store.root.glob("packs/*/*") if path.is_file()}  # type: ignore[attr-defined]


def damaging(
    made: repository.Repository, key: Optional[bytes], damage: Callable[[Path], None]
) -> repository.Repository:
    """The repository on a store that damages each pack as soon as it is published."""

    def act(number: int, when: str, kind: str, name: str) -> None:
        if (when, kind) == ("after", "publish") and name.startswith("packs/"):
            damage(made.store.root / name)  # type: ignore[attr-defined]

    return repository.open(Counted(made.store, act), key)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_what_was_just_stored_is_read_back(
    small: repository.Repository, key: Optional[bytes], damage: Callable[[Path], None]
) -> None:
    broken = damaging(small, key, damage)
    with pytest.raises((problems.Damaged, problems.Missing)):
        save(broken, DISK)
    assert broken.names() == []
    assert save(small, DISK).facts == {"proven": True}


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_a_pack_of_an_earlier_run_that_is_not_whole(
    small: repository.Repository, key: Optional[bytes], damage: Callable[[Path], None]
) -> None:
    first = save(small, DISK)
    for path in sorted(paths(small)):
        content = path.read_bytes()
        damage(path)
        opened = repository.open(small.store, key)
        assert disks.restored(opened, save(opened, NEXT, first.name)) == NEXT  # its cells were stored once more
        path.write_bytes(content)


@pytest.mark.parametrize("damage", [halve, Path.unlink])
def test_a_pack_that_only_a_changed_cell_needs(
    small: repository.Repository, key: Optional[bytes], damage: Callable[[Path], None]
) -> None:
    """No recipe of the first pack is in the third restore point, but frames of it are."""
    disk = disks.content(1)
    first = save(small, disk)
    (path,) = paths(small)
    second = save(small, disks.changed(disk, 5), first.name)
    assert path.name not in [entry.pack_id.hex() for entry in small.cells(second.name).entries]
    damage(path)
    grown = disks.changed(disk, 5) + disks.content(1, seed=8)
    opened = repository.open(small.store, key)
    assert disks.restored(opened, save(opened, grown, second.name)) == grown  # what it was for is stored once more


@pytest.mark.parametrize("damage", [halve, Path.unlink])
@pytest.mark.parametrize("which", ["named", "used"])
def test_a_pack_that_goes_while_a_backup_runs(
    small: repository.Repository, key: Optional[bytes], damage: Callable[[Path], None], which: str
) -> None:
    """It was there when the backup began; `used`: only frames of it are needed, through another pack."""
    disk = disks.content(1)
    parent = save(small, disk)
    (path,) = paths(small)
    if which == "used":
        disk = disks.changed(disk, 5)
        parent = save(small, disk, parent.name)

    def complete(saved: Saved) -> dict[str, object]:
        damage(path)
        proving.prove(opened, saved)
        return {}

    opened = repository.open(small.store, key)
    grown = disk + disks.content(1, seed=8)
    before = opened.names()
    with pytest.raises((problems.Damaged, problems.Missing), match=path.name):
        opened.save(disks.extents(grown), len(grown), parent.name, complete=complete)
    assert opened.names() == before


def test_what_did_not_change_is_not_fetched(small: repository.Repository, key: Optional[bytes]) -> None:
    first = save(small, DISK)
    packs, read = {path.name for path in paths(small)}, Counter[str]()

    class Measured(Counted):
        def read_into(self, name: str, offset: int, view: memoryview) -> int:
            read[name.rpartition("/")[2]] += len(view)
            return self.inner.read_into(name, offset, view)

    store: base.Store = Measured(small.store, lambda *_: None)
    second = save(repository.open(store, key), NEXT, first.name)
    assert second.new_bytes == 2 * BLOCK
    assert 0 < sum(read[name] for name in packs) < 4 * CELL  # the other blocks of the two cells that changed
