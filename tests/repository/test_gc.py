# SPDX-License-Identifier: Apache-2.0
"""Garbage goes, and only garbage, whatever happens in the meantime."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from onebackup_driver.repository import gc, notes, problems, repository, verify
from onebackup_driver.repository.extent import Extent
from onebackup_driver.repository.format.header import Parameters
from onebackup_driver.repository.stores import base
from onebackup_driver.repository.stores.directory import DirectoryStore

from . import disks, stores
from .disks import CELL, SMALL

PROJECT = Path(__file__).resolve().parents[2]
DISK = disks.content(8)
HOUR_S = 3600


def age(made: repository.Repository, hours: float, kinds: tuple[str, ...] = ("packs", "condemned")) -> None:
    """Let all objects be that much older for the store."""
    for kind in kinds:
        for path in (made.store.root / kind).rglob("*"):  # type: ignore[attr-defined]
            status = path.stat()
            os.utime(path, (status.st_atime, status.st_mtime - hours * HOUR_S))


def stored_packs(made: repository.Repository) -> int:
    return len(list(made.store.list("packs/")))


def test_the_whole_life_of_garbage(small: repository.Repository) -> None:
    first = disks.save(small, DISK)
    second = disks.save(small, disks.content(8, seed=7))
    shared = disks.save(small, disks.changed(DISK, 5), first.name)
    age(small, 25)
    small.delete(second.name)
    used = small.usage().used_bytes

    dry = gc.collect(small, dry_run=True)
    assert dry.condemned_now and not dry.deleted and list(small.store.list("condemned/")) == []
    assert any("would be condemned" in line for line in dry.lines())
    report = gc.collect(small)
    assert set(report.condemned_now) == set(dry.condemned_now) and not report.deleted
    again = gc.collect(small)
    assert set(again.waiting) == set(report.condemned_now) and not again.condemned_now
    age(small, 37)
    told: list[tuple[int, int, str]] = []
    swept = gc.collect(small, progress=lambda *said: told.append(said))
    assert told[0][2] == "restore points read" and told[-1] == (len(swept.deleted), len(swept.deleted), "packs deleted")
    assert set(swept.deleted) == set(report.condemned_now)
    assert list(small.store.list("condemned/")) == [] and stored_packs(small) == len(swept.used)
    assert small.usage().used_bytes < used - 4 * CELL
    small.delete(first.name)
    age(small, 25)
    gc.collect(small)
    age(small, 37)
    gc.collect(small)
    assert disks.restored(small, shared) == disks.changed(DISK, 5)  # packs of the first one are needed still
    assert verify.verify(small).is_whole


def test_garbage_that_is_saved_again_is_stored_again(small: repository.Repository) -> None:
    """A writer never refers to a condemned pack, neither through an index nor through its parent."""
    first = disks.save(small, DISK)
    small.delete(first.name)
    age(small, 25)
    condemned = gc.collect(small).condemned_now
    second = disks.save(small, DISK)
    assert second.new_bytes == len(DISK)
    assert small.pack_ids_of(second.name).isdisjoint(condemned)
    age(small, 37)
    assert set(gc.collect(small).deleted) == set(condemned)
    assert disks.restored(small, second) == DISK
    assert disks.save(small, DISK).new_bytes == 0


def test_a_note_that_was_not_found_once_is_heeded_all_the_same(directory: DirectoryStore) -> None:
    """Otherwise what is saved now would refer to what gc is about to delete."""
    made = repository.create(directory, SMALL)
    made.delete(disks.save(made, DISK).name)
    age(made, 25)
    gc.collect(made)
    lies = iter([True])

    def act(number: int, when: str, kind: str, name: str) -> None:
        if kind == "get" and name.startswith("condemned/") and next(lies, False):
            raise problems.Missing(name)

    assert disks.save(repository.open(stores.Counted(directory, act)), DISK).new_bytes == len(DISK)
    assert not any(lies)


def test_a_parent_in_condemned_packs(small: repository.Repository) -> None:
    """A long writer refers to a pack while gc condemns it: it stays, but nothing new refers to it."""
    first = disks.save(small, DISK)
    age(small, 25)

    def stream() -> object:
        yield Extent(0, 4 * CELL, DISK[: 4 * CELL])
        small.delete(first.name)
        assert gc.collect(small).condemned_now
        yield Extent(4 * CELL, 4 * CELL, DISK[4 * CELL :])

    second = small.save(stream(), len(DISK), first.name)  # type: ignore[arg-type]
    assert second.new_bytes == 0
    age(small, 37)
    report = gc.collect(small)
    assert not report.deleted and report.avoided
    third = disks.save(small, DISK, second.name)
    assert third.new_bytes == len(DISK)
    small.delete(second.name)
    assert gc.collect(small).deleted
    assert disks.restored(small, third) == DISK


@pytest.mark.parametrize("tells", ["index", "table"])
def test_packs_whose_frames_others_use(small: repository.Repository, tells: str) -> None:
    """The second day's recipes use the first day's frames: both stay, and both are avoided together."""
    first = disks.save(small, DISK)
    second = disks.save(small, disks.changed(DISK, *range(0, 8 * CELL, CELL)), first.name)
    assert small.pack_ids_of(first.name).isdisjoint(small.pack_ids_of(second.name))
    small.delete(first.name)
    age(small, 25)
    assert not gc.collect(small).condemned_now
    for path in (small.store.root / "index").iterdir() if tells == "table" else ():  # type: ignore[attr-defined]
        path.unlink()
    assert not gc.collect(small).condemned_now
    entries = small.cells(second.name).entries
    notes.condemn(small, notes.UNUSED, {used for entry in entries for used in small.tables.table(entry).packs[1:]})
    third = disks.save(small, disks.restored(small, second), second.name)
    assert small.pack_ids_of(third.name).isdisjoint(small.pack_ids_of(second.name))
    fourth = disks.save(small, disks.restored(small, second))  # found through the index alone
    assert small.pack_ids_of(fourth.name).isdisjoint(small.pack_ids_of(second.name))


def test_a_listing_that_lacks_a_manifest_does_no_harm(directory: DirectoryStore) -> None:
    made = repository.create(directory, SMALL)
    point = disks.save(made, DISK)
    age(made, 25)

    class Forgetful(stores.Counted):
        listings = 0

        def list(self, prefix: str) -> Iterator[base.Entry]:
            if prefix == "manifests/":
                self.listings += 1
                if self.listings == 1:
                    return iter(())
            return super().list(prefix)

    report = gc.collect(repository.open(Forgetful(directory, lambda *_: None)))
    assert not report.condemned_now and report.restore_points == 1
    assert disks.restored(made, point) == DISK


def test_only_what_there_is_is_told(small: repository.Repository) -> None:
    assert gc.collect(small).lines() == ["0 restore points need 0 packs (0 MiB)", "nothing to free"]
    disks.save(small, disks.content(1))
    assert gc.collect(small).lines() == ["1 restore point needs 1 pack (1 MiB)", "nothing to free"]
    small.delete(small.names()[0])
    need = "0 restore points need 0 packs (0 MiB)"
    assert gc.collect(small).lines() == [
        need, "kept: 1 pack (1 MiB) that nothing needs, but younger than 24 h: a running backup may need them"
    ]  # fmt: skip
    age(small, 25)
    assert gc.collect(small).lines() == [
        need, "condemned: 1 pack (1 MiB) that nothing needs; a gc in 36 h deletes them"
    ]  # fmt: skip
    assert gc.collect(small).lines() == [
        need, "kept: 1 pack (1 MiB) that nothing needs, but condemned less than 36 h ago"
    ]  # fmt: skip
    age(small, 37)
    assert gc.collect(small, dry_run=True).lines() == [
        need, "would be deleted: 1 pack (1 MiB) that nothing has needed for 36 h"
    ]  # fmt: skip
    writer = small.store.create("packs/ab/left")
    writer.write(b"half of it")
    age(small, 37)
    assert gc.collect(small).lines() == [
        need, "deleted: 1 pack (1 MiB) that nothing has needed for 36 h",
        "removed: 1 unfinished object of backups that were killed",
    ]  # fmt: skip
    writer.abandon()


@pytest.mark.parametrize("ahead_s", [-400 * 24 * HOUR_S, 400 * 24 * HOUR_S])
def test_a_dry_run_on_a_machine_with_a_wrong_clock_says_what_gc_would_do(
    small: repository.Repository, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    small.delete(disks.save(small, disks.content(3, seed=7)).name)
    age(small, 25)
    gc.collect(small)
    age(small, 37)
    waiting = disks.save(small, disks.content(3, seed=8)).name
    notes.condemn(small, notes.UNUSED, small.pack_ids_of(waiting))
    small.delete(waiting)
    small.delete(disks.save(small, disks.content(3, seed=9)).name)
    true, before = gc.clock.now, sorted(path for path in small.store.root.rglob("*"))  # type: ignore[attr-defined]
    monkeypatch.setattr(gc.clock, "now", lambda: true() + ahead_s)
    dry = gc.collect(small, dry_run=True)
    assert sorted(path for path in small.store.root.rglob("*")) == before  # type: ignore[attr-defined]
    report = gc.collect(small)
    kinds = ("used", "young", "condemned_now", "waiting", "deleted")
    assert [getattr(dry, kind) for kind in kinds] == [getattr(report, kind) for kind in kinds]
    assert report.deleted and report.waiting and report.young


def test_a_dry_run_where_nothing_may_be_written_says_whose_clock_it_used(directory: DirectoryStore) -> None:
    made = repository.create(directory, SMALL)
    made.delete(disks.save(made, DISK).name)
    age(made, 25)

    def act(number: int, when: str, kind: str, name: str) -> None:
        if kind == "time":
            raise problems.StoreFailed("read-only")

    report = gc.collect(repository.open(stores.Counted(directory, act)), dry_run=True)
    assert report.condemned_now and any("the clock of this machine" in line for line in report.lines())


def test_damage_that_is_gone_is_forgotten(small: repository.Repository) -> None:
    """verify may have found missing what gc was just deleting; what a restore point lacks stays noted."""
    point = disks.save(small, DISK)
    needed = min(small.pack_ids_of(point.name))
    small.store.delete(verify.pack.name_of(needed))
    notes.condemn(small, notes.DAMAGED, {needed, bytes(16)})
    gc.collect(small)
    assert notes.condemned(small)[0].packs == {needed, bytes(16)}  # a listing may lack what is new
    age(small, 37)
    gc.collect(small)
    assert notes.condemned(small)[0].packs == {needed}
    small.delete(point.name)
    age(small, 37)
    gc.collect(small)
    assert not any(known.reason == notes.DAMAGED for known in notes.condemned(small))


def test_young_packs_are_kept(small: repository.Repository) -> None:
    small.delete(disks.save(small, DISK).name)
    report = gc.collect(small)
    assert report.young and not report.condemned_now
    assert any("a running backup may need them" in line for line in report.lines())


@pytest.mark.parametrize("when", ["before", "after"])
def test_gc_that_fails_at_any_step_is_run_again(directory: DirectoryStore, tmp_path: Path, when: str) -> None:
    small = repository.create(directory, SMALL)
    kept = disks.save(small, DISK)
    small.delete(disks.save(small, disks.content(8, seed=7)).name)
    age(small, 25)
    gc.collect(small)
    age(small, 37)
    at, done = 0, False
    while not done:
        at += 1
        root = shutil.copytree(directory.root, tmp_path / f"{at}")
        store = stores.failing(DirectoryStore(root), at, when)
        try:
            gc.collect(repository.open(store))
        except problems.StoreFailed:
            pass
        done = store.count < at
        opened = repository.open(DirectoryStore(root))
        saved = disks.save(opened, disks.content(8, seed=7))
        gc.collect(opened)
        assert list(opened.store.list("condemned/")) == []
        for point, disk in ((kept, DISK), (saved, disks.content(8, seed=7))):
            assert disks.restored(opened, point) == disk
        assert len(set(opened.store.list("packs/"))) == len(gc.collect(opened).used)
    assert at > 10


@pytest.mark.parametrize("kind", ["manifests/", "packs/", "index/", "condemned/"])
def test_nothing_is_deleted_when_a_listing_fails(directory: DirectoryStore, kind: str) -> None:
    made = repository.create(directory, SMALL)
    made.delete(disks.save(made, DISK).name)
    age(made, 25)
    gc.collect(made)
    age(made, 37)
    before = sorted(path for path in directory.root.rglob("*") if path.is_file())

    def act(number: int, when: str, operation: str, name: str) -> None:
        if operation == "list" and name == kind:
            raise problems.StoreFailed("half a listing")

    with pytest.raises(problems.StoreFailed):
        gc.collect(repository.open(stores.Counted(directory, act)))
    assert sorted(path for path in directory.root.rglob("*") if path.is_file() and "clock" not in str(path)) == before


def test_nothing_is_deleted_when_a_manifest_is_damaged(small: repository.Repository) -> None:
    name = disks.save(small, DISK).name
    age(small, 25)
    (small.store.root / "manifests" / name).write_bytes(b"not a manifest")  # type: ignore[attr-defined]
    with pytest.raises(problems.Damaged):
        gc.collect(small)
    assert list(small.store.list("condemned/")) == []


BACK_UP = """
import sys
from pathlib import Path
from onebackup_driver.repository import repository
from onebackup_driver.repository.stores.directory import DirectoryStore
from tests.repository import disks
root, number = sys.argv[1], int(sys.argv[2])
made, parent = repository.open(DirectoryStore(Path(root)), disks.KEY), None
for day in range(6):
    disk = disks.changed(disks.content(8, seed=number % 2), day * 1000, seed=number)
    point = disks.save(made, disk, parent, vm=number, day=day)
    assert disks.restored(made, point) == disk
    if parent and day % 2:
        made.delete(parent)
    parent = point.name
"""


def test_gc_against_running_backups(tmp_path: Path) -> None:
    """Several processes save, read and delete, while gc runs all the time."""
    made = repository.create(DirectoryStore(tmp_path), SMALL, disks.KEY)
    running = [
        subprocess.Popen([sys.executable, "-c", BACK_UP, str(tmp_path), str(number)], cwd=PROJECT)
        for number in range(4)
    ]
    try:
        while any(process.poll() is None for process in running):
            gc.collect(made)
            time.sleep(0.05)
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0] * 4
    points = list(made.manifests())
    assert len(points) == 4 * 3
    for point in points:
        number, day = point.facts["vm"], point.facts["day"]
        assert disks.restored(made, point) == disks.changed(disks.content(8, seed=number % 2), day * 1000, seed=number)
    assert verify.verify(made).is_whole


def test_gc_on_every_store(store: base.Store, key: Optional[bytes]) -> None:
    parameters = Parameters(CELL, disks.BLOCK, SMALL.pack_bytes, longest_run_s=1, grace_s=2)
    made = repository.create(store, parameters, key)
    kept = disks.save(made, DISK)
    made.delete(disks.save(made, disks.content(8, seed=7)).name)
    deadline = time.monotonic() + 60
    while len(list(store.list("packs/"))) > len(made.pack_ids_of(kept.name)):
        gc.collect(made)
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert disks.restored(made, kept) == DISK
    assert len(list(store.list("packs/"))) == len(made.pack_ids_of(kept.name))
    assert len(list(store.list("clock/"))) == 0
