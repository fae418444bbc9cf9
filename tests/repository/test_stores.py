# SPDX-License-Identifier: Apache-2.0
"""The contract of stores/base.py, for every store."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from onebackup_driver.repository import location, problems
from onebackup_driver.repository.stores import base
from onebackup_driver.repository.stores.directory import DirectoryStore

from .conftest import BUCKET


def test_what_is_put_can_be_got(store: base.Store) -> None:
    assert store.put("folder/a", b"0123456789")
    assert store.get("folder/a") == b"0123456789"
    assert store.get("folder/a", 3) == b"3456789"
    assert store.get("folder/a", 3, 4) == b"3456"
    assert store.get("folder/a", 8, 100) == b"89"
    assert store.get("folder/a", 100, 5) == b""
    assert store.size("folder/a") == 10


def test_an_empty_object(store: base.Store) -> None:
    assert store.put("folder/empty", b"")
    assert store.get("folder/empty") == b""
    assert store.size("folder/empty") == 0


def test_nothing_is_overwritten(store: base.Store) -> None:
    assert store.put("folder/a", b"first")
    assert not store.put("folder/a", b"second")
    assert store.get("folder/a") == b"first"


def test_one_of_many_puts_wins(store: base.Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: store.put("folder/a", b"%d" % number), range(8)))
    assert won.count(True) == 1
    assert store.get("folder/a") == b"%d" % won.index(True)


def test_what_is_missing_is_said(store: base.Store) -> None:
    for ask in (store.get, store.size, lambda name: store.read_into(name, 0, memoryview(bytearray(4)))):
        with pytest.raises(problems.Missing, match="folder/nothing"):
            ask("folder/nothing")
    with pytest.raises(problems.Missing):
        store.local_copy("folder/nothing", b"0" * 16)


def test_the_time_of_the_store(store: base.Store) -> None:
    before = store.time()
    store.put("folder/a", b"content")
    (entry,) = store.list("folder/")
    assert abs(entry.modified - before) < 5 and abs(before - time.time()) < 5


def test_every_object_is_read_also_when_some_are_replaced_meanwhile(store: base.Store) -> None:
    for name in "abc":
        store.put(f"folder/{name}", name.encode())

    def read(name: str) -> bytes:
        if name == "folder/a":  # "b" makes way for "d"
            store.put("folder/d", b"d")
            store.delete("folder/b")
        return store.get(name)

    assert sorted(content for _, content in base.every(store, "folder/", read)) == [b"a", b"c", b"d"]


def test_what_is_listed_and_not_found_is_looked_for_again_and_then_an_error(store: base.Store) -> None:
    store.put("folder/a", b"content")
    lies = iter([True, True])

    def read(name: str) -> bytes:
        if next(lies, False):
            raise problems.Missing(name)
        return store.get(name)

    assert [content for _, content in base.every(store, "folder/", read)] == [b"content"]
    lies = iter([True] * 99)
    with pytest.raises(problems.StoreFailed, match="folder/a is listed, but not found"):
        list(base.every(store, "folder/", read))


def opened_again(options: dict[str, str], cache: Path) -> base.Store:
    return location.parse(f"s3://{BUCKET}/{secrets.token_hex(4)}", {**options, "CACHE": str(cache)}).open_store()


def test_copies_of_an_s3_store_leave_nothing_behind(
    s3_options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not when there is no cache that may be written, and the process is killed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    left = tmp_path / "onebackup-index-killed"
    left.mkdir()
    (left / ".owner").touch()
    for cache, folders in ((tmp_path / "cache", [left]), (tmp_path / "file" / "cache", [])):
        store = opened_again(s3_options, cache)
        store.put("index/a", b"content")
        assert store.local_copy("index/a", b"0" * 16).read_bytes() == b"content"
        made = list(tmp_path.glob("onebackup-index-*"))
        assert made == folders or (len(made) == 1 and left not in made)
        store.close()
    assert list(tmp_path.glob("onebackup-index-*")) == []


def test_half_made_copies_do_not_stay_in_the_cache(s3_options: dict[str, str], tmp_path: Path) -> None:
    store = opened_again(s3_options, tmp_path)
    store.put("index/a", b"content")
    kept = store.local_copy("index/a", b"0" * 16)
    young, old = kept.with_name(".index_b.young"), kept.with_name(".index_b.old")
    for path in (young, old):
        path.touch()
    os.utime(old, (0, time.time() - 25 * 3600))
    store.keep_copies(["index/a"], b"0" * 16)
    assert sorted(kept.parent.iterdir()) == sorted([kept, young])
    store.close()


def test_delete_is_idempotent(store: base.Store) -> None:
    store.put("folder/a", b"content")
    store.delete("folder/a")
    store.delete("folder/a")
    with pytest.raises(problems.Missing):
        store.get("folder/a")


def test_list_is_complete_with_sizes_and_times(store: base.Store) -> None:
    before = time.time()
    names = [f"folder/{number % 7}/{number:04}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, name[-2:].encode()), names))
    listed = list(store.list("folder/"))
    assert sorted(entry.name for entry in listed) == sorted(names)
    assert {entry.size_bytes for entry in listed} == {2}
    assert all(before - 5 < entry.modified < time.time() + 5 for entry in listed)
    assert len(list(store.list("folder/3/"))) == 6
    assert list(store.list("packs/")) == []


def test_pieces_are_seen_only_when_published(store: base.Store) -> None:
    writer = store.create("packs/a")
    buffer = bytearray(b"abc")
    writer.write(buffer)
    buffer[:] = b"xyz"  # ours again
    writer.write(b"def")
    assert list(store.list("packs/")) == []
    assert writer.publish()
    writer.abandon()
    assert store.get("packs/a") == b"abcdef"


def test_an_abandoned_object_never_was(store: base.Store) -> None:
    writer = store.create("packs/a")
    writer.write(b"abc")
    writer.abandon()
    assert list(store.list("packs/")) == []
    assert store.remove_stale(time.time() + 60) == 0


def test_a_large_object_in_parts(store: base.Store) -> None:
    parts = [os.urandom(3 * 1024 * 1024 + 7) for _ in range(7)]
    writer = store.create("packs/large")
    for part in parts:
        writer.write(part)
    assert writer.publish()
    whole = b"".join(parts)
    assert store.size("packs/large") == len(whole)
    assert store.get("packs/large") == whole
    view = memoryview(bytearray(100_000))
    assert store.read_into("packs/large", 8_000_000, view) == 100_000
    assert view == whole[8_000_000:8_100_000]
    abandoned = store.create("packs/other")
    for part in parts:
        abandoned.write(part)
    abandoned.abandon()
    assert [entry.name for entry in store.list("packs/")] == ["packs/large"]
    assert store.remove_stale(time.time() + 60) == 0


def test_a_local_copy(store: base.Store) -> None:
    store.put("index/a", b"content")
    assert store.local_copy("index/a", b"0" * 16).read_bytes() == b"content"
    assert store.local_copy("index/a", b"0" * 16).read_bytes() == b"content"


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a//b", "", "a/../b", "a/", ".a", "a/.b", "a\n"])
def test_names_stay_inside(store: base.Store, name: str) -> None:
    for ask in (store.get, store.size, store.delete, store.create, lambda name: store.put(name, b"x")):
        with pytest.raises(problems.StoreFailed):
            ask(name)


def test_a_missing_directory_is_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(problems.StoreFailed):
        list(DirectoryStore(tmp_path / "not-mounted").list("packs/"))


def test_a_directory_that_cannot_be_read_is_no_empty_one(directory: DirectoryStore) -> None:
    directory.prepare(("packs/",))
    (directory.root / "packs/aa").symlink_to("aa")  # reading it ends in ELOOP, also for root
    with pytest.raises(problems.StoreFailed):
        list(directory.list("packs/"))


def test_what_killed_writers_left_is_removed(directory: DirectoryStore) -> None:
    directory.prepare(("packs/",))
    writer = directory.create("packs/aa/a")
    writer.write(b"half")
    assert directory.remove_stale(time.time() - 3600) == 0
    assert directory.remove_stale(time.time() + 60) == 1
    assert list(directory.list("packs/")) == []


def test_a_power_cut_leaves_an_object_whole_or_not_at_all(
    directory: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are on the disk before it has its name, and its name before it counts as published."""
    directory.prepare(("packs/",))
    done: list[str] = []

    def watch(name: str, what: Callable[..., str]) -> None:
        true = getattr(os, name)

        def call(*given: Any, **named: Any) -> Any:
            done.append(what(*given))
            return true(*given, **named)

        monkeypatch.setattr(os, name, call)

    watch("fsync", lambda opened: f"fsync {os.path.basename(os.readlink(f'/proc/self/fd/{opened}'))[:5]}")
    watch("link", lambda source, target: f"link {target.name}")
    writer = directory.create("packs/aa/a")
    writer.write(b"content")
    done.clear()
    assert writer.publish()
    assert done == ["fsync .tmp-", "link a", "fsync aa"]
    assert directory.put("packs/b", b"content")
    assert done[3:] == ["fsync .tmp-", "link b", "fsync packs"]
    directory.delete("packs/b")
    assert done[6:] == ["fsync packs"]


def test_a_full_disk(tmp_path: Path) -> None:
    store = DirectoryStore(Path("/dev"))
    with pytest.raises(problems.StoreFailed, match="No space left"):
        _write_full(store)


def _write_full(store: DirectoryStore) -> None:
    writer = store.create("onebackup-test-full")
    try:
        os.dup2(os.open("/dev/full", os.O_WRONLY), writer._descriptor)  # type: ignore[attr-defined]
        writer.write(b"x")
    finally:
        writer.abandon()
