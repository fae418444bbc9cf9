# SPDX-License-Identifier: Apache-2.0
"""What was saved comes back."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onebackup_driver import clock
from onebackup_driver.repository import manifests, problems, reading, repository, saving
from onebackup_driver.repository.extent import Extent
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.stores import base
from onebackup_driver.repository.stores.directory import DirectoryStore

from . import disks, stores
from .disks import BLOCK, CELL, KEY, SMALL


def test_three_days(store: base.Store, key: Optional[bytes]) -> None:
    made = repository.create(store, SMALL, key)
    days = [disks.content(12.3)]
    days.append(disks.changed(days[0], 5, 3 * CELL + 77, 12 * CELL))
    days.append(disks.changed(days[1] + disks.content(2, seed=9), 5, 7 * CELL))
    points: list[Manifest] = []
    for disk in days:
        points.append(disks.save(made, disk, points[-1].name if points else None, day=len(points)))
    opened = repository.open(store, key)
    assert list(opened.manifests()) == sorted(points, key=lambda point: point.name)
    for disk, point in zip(days, points):
        assert disks.restored(opened, point) == disk
        assert opened.read(point, CELL - 10, 2 * CELL) == disk[CELL - 10 : 3 * CELL - 10]
    assert points[1].new_bytes <= 3 * BLOCK
    assert opened.load(points[2].name).facts == {"day": 2}
    assert opened.usage().used_mb >= 1


def test_cells_are_found_anywhere(small: repository.Repository) -> None:
    disk = disks.content(6)
    disks.save(small, disk)
    moved = disks.content(2, seed=5) + disk
    point = disks.save(small, moved)
    assert point.new_bytes == 2 * CELL
    assert disks.restored(small, point) == moved
    often = disks.content(1, seed=6) * 40
    assert disks.save(small, often).new_bytes <= 4 * CELL  # each thread may have met it first


def test_blocks_that_moved_within_a_cell_are_known(small: repository.Repository) -> None:
    disk = disks.content(3)
    first = disks.save(small, disk)
    moved = disk[BLOCK:CELL] + disk[:BLOCK] + disk[CELL:]
    second = disks.save(small, moved, first.name)
    assert second.new_bytes == 0
    assert disks.restored(small, second) == moved


def test_a_scattered_cell_is_stored_anew(small: repository.Repository) -> None:
    disk, parent = disks.content(1), None
    sizes = []
    for block in range(14):
        disk = disks.changed(disk, block * BLOCK, seed=block)
        point = disks.save(small, disk, parent)
        parent = point.name
        sizes.append(point.new_bytes)
        assert disks.restored(small, point) == disk
    assert sizes[0] == CELL and sizes[1] == BLOCK
    assert CELL in sizes[2:]


def test_zeros_cost_nothing(small: repository.Repository) -> None:
    disk = bytes(3 * CELL) + b"x" * BLOCK + bytes(CELL * 3)
    point = small.save([Extent(0, len(disk), disk)], len(disk))
    assert point.new_bytes == BLOCK and point.data_bytes == CELL
    assert list(small.extents(point)) == [
        (0, 3 * CELL, True), (3 * CELL, BLOCK, False), (3 * CELL + BLOCK, len(disk) - 3 * CELL - BLOCK, True),
    ]  # fmt: skip
    empty = small.save([], 100 * CELL)
    assert empty.stored_bytes == 0
    assert list(small.extents(empty)) == [(0, 100 * CELL, True)]
    assert small.read(empty, 5, 10) == bytes(10)


def test_a_disk_without_bytes(small: repository.Repository) -> None:
    point = small.save([], 0)
    assert disks.restored(small, point) == b""
    assert list(small.extents(point)) == [] and small.read(point, 0, 10) == b""


def test_delete_is_idempotent_and_spares_the_others(small: repository.Repository) -> None:
    disk = disks.content(4)
    first = disks.save(small, disk)
    second = disks.save(small, disks.changed(disk, 9), first.name)
    small.delete(first.name)
    small.delete(first.name)
    assert [point.name for point in small.manifests()] == [second.name]
    assert disks.restored(small, second) == disks.changed(disk, 9)
    with pytest.raises(problems.Missing):
        small.load(first.name)
    third = disks.save(small, disk, first.name)  # a parent that is gone
    assert disks.restored(small, third) == disk and third.new_bytes == 0


def test_complete_reads_what_is_stored_before_the_restore_point_is_there(small: repository.Repository) -> None:
    disk, before = disks.content(3), disks.save(small, disks.content(1))

    def complete(saved: saving.Saved) -> dict[str, object]:
        assert small.names() == [before.name]
        loaded = manifests.Loaded(saved.cells, saved.entries)
        reader = reading.CellReader(small.store, small.vault, small.parameters)
        read = b"".join(bytes(reader.read(small.recipe("new", loaded, cell))) for cell in saved.cells)
        return {"same": read == disk, "day": 2}

    point = small.save(disks.extents(disk), len(disk), None, {"vm": 7, "day": 1}, complete=complete)
    assert small.load(point.name).facts == {"vm": 7, "same": True, "day": 2}


def test_nothing_is_published_when_complete_raises(small: repository.Repository) -> None:
    def complete(saved: saving.Saved) -> dict[str, object]:
        raise problems.Damaged("packs/", "cannot be read back")

    with pytest.raises(problems.Damaged, match="read back"):
        small.save(disks.extents(disks.content(2)), 2 * CELL, complete=complete)
    assert small.names() == [] and list(small.store.list("index/")) == []


def test_sources_that_are_not_whole(small: repository.Repository) -> None:
    class Broken:
        def __iter__(self) -> object:
            return iter([Extent(0, CELL, disks.content(1))])

        def confirm(self) -> None:
            raise problems.SourceChanged("the producer failed")

    streams = [
        [Extent(0, 100, b"short")],
        [Extent(CELL, 10, b"0123456789"), Extent(0, 10, b"0123456789")],
        [Extent(0, 3 * CELL, disks.content(3))],
        Broken(),
        _failing_stream(),
    ]
    for stream in streams:
        with pytest.raises((problems.SourceChanged, ZeroDivisionError)):
            small.save(stream, 2 * CELL)  # type: ignore[arg-type]
    assert small.names() == []


def _failing_stream() -> object:
    yield Extent(0, CELL, disks.content(1))
    yield Extent(CELL, 10, b"0123456789"[: 1 // 0])


@pytest.mark.parametrize("which", ["it ran", "the machine slept", "the clock was set"])
def test_a_run_that_was_too_long_is_refused(
    directory: DirectoryStore, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    made = repository.create(directory, SMALL)
    long = SMALL.longest_run_s + 1.0
    later = {"it ran": (long, long, long), "the machine slept": (1.0, long, long), "the clock was set": (1.0, 1, long)}
    moments = iter([(0.0, 0.0, 0.0), later[which]])
    monkeypatch.setattr("onebackup_driver.clock._all_clocks", lambda: next(moments))
    with pytest.raises(problems.RunTooLong):
        disks.save(made, disks.content(1))
    assert made.names() == []


def test_nothing_stays_published_when_the_machine_slept_at_the_last_step(
    directory: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So long that gc has deleted what the new restore point refers to."""
    passed = [0.0]
    true = clock._all_clocks
    monkeypatch.setattr(clock, "_all_clocks", lambda: tuple(value + passed[0] for value in true()))

    def act(number: int, when: str, kind: str, name: str) -> None:
        if when == "before" and name.startswith("manifests/") and kind == "put":
            passed[0] = SMALL.grace_s + 1.0

    repository.create(directory, SMALL)
    opened = repository.open(stores.Counted(directory, act))
    with pytest.raises(problems.RunTooLong):
        disks.save(opened, disks.content(1))
    assert opened.names() == [] and passed[0]


def test_usage_is_as_quick_for_a_large_repository(directory: DirectoryStore) -> None:
    """Two requests, whatever is in it, and few names: monitor asks every ten minutes."""
    asked: list[tuple[str, str]] = []
    made = repository.create(directory, SMALL)
    for days in (1, 80):
        for day in range(days):
            disks.save(made, disks.content(1.5, seed=day))
        asked.clear()
        counted = stores.Counted(directory, lambda number, when, kind, name: asked.append((kind, name)))
        used = repository.open(counted).usage().used_bytes
        assert asked == [("get", "repository.json"), ("list", "index/")]
        assert len(list(directory.list("index/"))) <= 40
    stored = sum(entry.size_bytes for kind in ("packs/", "manifests/", "index/") for entry in directory.list(kind))
    assert abs(used - stored) < stored // 100


def test_many_indexes_are_merged(small: repository.Repository) -> None:
    points = [disks.save(small, disks.content(1.5, seed=seed)) for seed in range(34)]
    assert len(list(small.store.list("index/"))) < 10
    assert disks.save(small, disks.content(1.5, seed=3)).new_bytes == 0
    assert disks.restored(small, points[7]) == disks.content(1.5, seed=7)
    listed = [entry for prefix in ("packs/", "index/", "manifests/") for entry in small.store.list(prefix)]
    stored = sum(entry.size_bytes for entry in listed)
    assert abs(small.usage().used_mb - stored / 2**20) <= 1


_PIECES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 40), st.sampled_from(["zero", "hole", "random", "flat"])), max_size=8
)


def _build(size: int, pieces: list[tuple[int, int, str]], seed: int) -> tuple[bytes, list[Extent]]:
    """Pieces in units of 1000 bytes, one behind the other with gaps."""
    disk, extents, position = bytearray(size), [], 0
    for gap, length, kind in pieces:
        begin, end = min(size, position + gap * 1000), min(size, position + (gap + length) * 1000)
        position = end
        if kind in ("random", "flat"):
            data = disks.content(1, seed + begin)[: end - begin] if kind == "random" else b"f" * (end - begin)
            disk[begin:end] = data
        extents.append(Extent(begin, end - begin, None if kind == "hole" else bytes(disk[begin:end])))
    return bytes(disk), extents


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300_000), _PIECES, st.integers(1, 300_000), _PIECES, st.booleans(), st.integers(0, 300_000))
def test_any_disks(
    size: int, pieces: list[tuple[int, int, str]], other_size: int, other: list[tuple[int, int, str]], encrypted: bool,
    place: int,
) -> None:  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        made = repository.create(DirectoryStore(Path(folder)), SMALL, KEY if encrypted else None)
        disk, first = _build(size, pieces, 1)
        point = made.save(first, size)
        other_disk, second = _build(other_size, other, 1)
        other_point = made.save(second, other_size, point.name)
        for content, saved in ((disk, point), (other_disk, other_point)):
            assert disks.restored(made, saved) == content
            assert made.read(saved, place, 5000) == content[place : place + 5000]
            position = 0
            for offset, length, zero in made.extents(saved):
                assert offset == position and length > 0
                assert not zero or not any(content[offset : offset + length])
                position += length
            assert position == len(content)
