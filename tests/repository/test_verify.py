# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onebackup_driver.repository import problems, repository, status, verified, verify
from onebackup_driver.repository.stores import base
from onebackup_driver.repository.stores.directory import DirectoryStore
from onebackup_driver.repository.verify import Choice

from . import disks, stores
from .disks import CELL

DISK = disks.content(9)
OTHER = disks.content(3, seed=5)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def test_a_whole_repository(store: base.Store) -> None:
    made = repository.create(store, disks.SMALL)
    disks.save(made, DISK)
    seen: list[tuple[int, int, str]] = []
    report = verify.verify(made, progress=lambda *told: seen.append(told))
    assert report.is_whole and report.cells == 9 and report.restore_points == 1
    assert report.lines() == [f"checked 1 manifest, {report.packs} packs, 9 cells (1 MiB)"]
    assert seen[0] == (1, 1, "restore points read") and seen[-1] == (report.packs, report.packs, "packs verified")


def test_what_is_not_found_once_is_no_damage(directory: DirectoryStore) -> None:
    made = repository.create(directory, disks.SMALL)
    disks.save(made, DISK)
    lied: set[str] = set()

    def act(number: int, when: str, kind: str, name: str) -> None:
        if kind in ("get", "size") and name.startswith("packs/") and name not in lied:
            lied.add(name)
            raise problems.Missing(name)

    assert verify.verify(repository.open(stores.Counted(directory, act))).is_whole and lied
    assert list(directory.list("condemned/")) == []


@pytest.mark.parametrize("change", [lambda content: content + b"x", lambda content: content[:-1]])
def test_a_manifest_that_is_too_long_or_too_short(
    small: repository.Repository, change: Callable[[bytes], bytes]
) -> None:
    """Only its last section tells, which restores do not look at."""
    name = disks.save(small, DISK).name
    path = small.store.root / "manifests" / name  # type: ignore[attr-defined]
    path.write_bytes(change(path.read_bytes()))
    report = verify.verify(small)
    assert [item[0] for item in report.objects] == [f"manifests/{name}"]
    assert report.verdict() == "DAMAGED: 1 other object"


def test_damage_names_its_restore_points_and_the_next_backup_heals(small: repository.Repository) -> None:
    first = disks.save(small, DISK)
    disks.save(small, OTHER)
    third = disks.save(small, disks.changed(DISK, 8 * CELL), first.name)
    loaded = small.cells(first.name)
    cell = next(iter(loaded.cells))
    frame = small.recipe(first.name, loaded, cell).frames[0]
    flip(small.store.root / verify.pack.name_of(frame.pack_id), frame.offset + 100)  # type: ignore[attr-defined]
    report = verify.verify(small)
    assert not report.is_whole
    damaged = {found.cell_id: found.restore_points for found in report.damaged}
    assert damaged == {cell.cell_id.hex(): tuple(sorted([first.name, third.name]))}
    assert any(first.name in line and cell.cell_id.hex()[:16] in line for line in report.lines())
    assert report.verdict() == "DAMAGED: 1 cell; 2 restore points cannot be restored wholly"
    assert status.of(small).damaged_packs >= 1
    with pytest.raises(problems.Damaged):
        disks.restored(small, first)
    healed = disks.save(small, DISK, first.name)
    assert disks.restored(small, healed) == DISK


def test_what_is_whole_again_may_be_used_again(small: repository.Repository) -> None:
    first = disks.save(small, DISK)
    name = next(entry.name for entry in small.store.list("packs/"))
    path = small.store.root / name  # type: ignore[attr-defined]
    whole = path.read_bytes()
    path.unlink()
    report = verify.verify(small)
    assert report.damaged[0].restore_points == (first.name,) and report.objects[0][0] == name
    assert report.lines()[1:] == [f"all cells in {name}: it is not in the repository; needed by {first.name}"]
    assert report.verdict() == "DAMAGED: 1 whole pack; 1 restore point cannot be restored wholly"
    assert status.of(small).damaged_packs == 1
    assert list(small.store.list("condemned/"))
    path.write_bytes(whole)
    assert verify.verify(small).is_whole
    assert list(small.store.list("condemned/")) == []
    assert verify.verify(small).verdict() == "all of that is whole" and status.of(small).damaged_packs == 0
    assert disks.save(small, DISK, first.name).new_bytes == 0


def test_samples_and_ages(small: repository.Repository) -> None:
    disks.save(small, DISK)
    count = len(list(small.store.list("packs/")))
    half = verify.verify(small, Choice(sample_percent=50))
    assert 0 < half.packs == -(-count // 2) and half.passed_over == count - half.packs
    rest = verify.verify(small, Choice(not_for_days=1))
    assert rest.packs == count - half.packs
    assert verify.verify(small, Choice(not_for_days=1)).packs == 0
    assert status.of(small).oldest_verification > 0


def test_a_run_that_was_broken_off_is_resumed(directory: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    made = repository.create(directory, disks.SMALL)
    disks.save(made, disks.content(30))
    monkeypatch.setattr(verify, "_NOTE_EVERY_S", 0.0)
    count = len(list(directory.list("packs/")))

    def act(number: int, when: str, kind: str, name: str) -> None:
        if number == 40:
            raise problems.StoreFailed("gone")

    with pytest.raises(problems.StoreFailed):
        verify.verify(repository.open(stores.Counted(directory, act)))
    done = len(verified.History(made).last_verified())
    assert 0 < done < count
    report = verify.verify(made, Choice(resume=True))
    assert report.packs == count - done and report.is_whole
    assert verify.verify(made, Choice(resume=True)).packs == count


def test_status(small: repository.Repository) -> None:
    assert status.of(small).deduplication is None
    first = disks.save(small, DISK)
    disks.save(small, DISK, first.name)
    said = status.of(small).as_json()
    assert said["restore_points"] == 2 and said["disk_bytes"] == 2 * len(DISK)
    assert said["deduplication"] == 2 and 1.8 < said["compression"] < 2
    assert said["growth"][0]["restore_points"] == 2 and said["oldest_verification"] == 0
