# SPDX-License-Identifier: Apache-2.0
"""What was not written by us, or not there, or not as it was written, is never restored."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Optional

import pytest

from onebackup_driver import clock
from onebackup_driver.repository import problems, repository, verify
from onebackup_driver.repository.stores.directory import DirectoryStore

from . import disks
from .disks import CELL, SMALL

DISK = disks.content(5)
NEXT = disks.changed(DISK, 7, 2 * CELL)


@pytest.fixture
def pair(small: repository.Repository) -> tuple[repository.Repository, str, str]:
    """A repository with two restore points, the second one made of packs of both."""
    first = disks.save(small, DISK)
    return small, first.name, disks.save(small, NEXT, first.name).name


def objects(root: Path, kind: str) -> list[Path]:
    return sorted(path for path in (root / kind).rglob("*") if path.is_file())


def outcome(root: Path, key: Optional[bytes], name: str) -> Optional[bytes]:
    """The restored disk, or None when it is refused. Anything else than a RepositoryError is a bug."""
    try:
        opened = repository.open(DirectoryStore(root), key)
        return disks.restored(opened, opened.load(name))
    except (problems.RepositoryError, problems.WrongKey, problems.NotARepository):
        return None


@pytest.mark.parametrize("kind", ["packs", "index", "manifests", "repository.json"])
def test_flipped_bits(pair: tuple[repository.Repository, str, str], key: Optional[bytes], kind: str) -> None:
    made, first, second = pair
    root, source = made.store.root, random.Random(kind)  # type: ignore[attr-defined]
    damaged = 0
    for path in objects(root, kind) if kind != "repository.json" else [root / kind]:
        whole = path.read_bytes()
        for place in {0, 20, len(whole) - 1, *(source.randrange(len(whole)) for _ in range(25))}:
            flipped = bytearray(whole)
            flipped[place] ^= 1 << source.randrange(8)
            path.write_bytes(flipped)
            results = [outcome(root, key, first), outcome(root, key, second)]
            assert results[0] in (None, DISK) and results[1] in (None, NEXT)
            damaged += None in results
            if kind == "index":  # nothing is lost, but it is said
                assert results == [DISK, NEXT]
                assert not verify.verify(repository.open(DirectoryStore(root), key)).is_whole
                shutil.rmtree(root / "verified")
                (root / "verified").mkdir()
        path.write_bytes(whole)
    assert damaged >= 20 or kind == "index"


@pytest.mark.parametrize("kind", ["packs", "index", "manifests"])
def test_cut_off_and_missing_objects(
    pair: tuple[repository.Repository, str, str], key: Optional[bytes], kind: str
) -> None:
    made, first, second = pair
    root = made.store.root  # type: ignore[attr-defined]
    for path in objects(root, kind):
        whole = path.read_bytes()
        for length in (0, 10, 50, len(whole) // 2, len(whole) - 1, None):
            path.unlink() if length is None else path.write_bytes(whole[:length])
            results = [outcome(root, key, first), outcome(root, key, second)]
            if length != len(whole) - 1:  # the last bytes of a pack are for verify and gc only
                assert (None in results) == (kind != "index")
            report = verify.verify(repository.open(DirectoryStore(root), key))
            assert report.is_whole == (length is None and kind != "packs")
        path.write_bytes(whole)


@pytest.mark.parametrize("kind", ["packs", "index", "manifests"])
def test_exchanged_objects(pair: tuple[repository.Repository, str, str], key: Optional[bytes], kind: str) -> None:
    made, first, second = pair
    root = made.store.root  # type: ignore[attr-defined]
    one, other = objects(root, kind)[:2]
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)
    results = [outcome(root, key, first), outcome(root, key, second)]
    assert results[0] in (None, DISK) and results[1] in (None, NEXT)
    assert (None in results) == (kind != "index")
    assert not verify.verify(repository.open(DirectoryStore(root), key)).is_whole


def test_objects_of_another_repository(
    pair: tuple[repository.Repository, str, str], key: Optional[bytes], tmp_path: Path
) -> None:
    made, first, _ = pair
    other = repository.create(DirectoryStore(tmp_path / "other"), SMALL, key)
    foreign = disks.save(other, DISK).name
    for kind in ("packs", "manifests", "index"):
        shutil.copytree(made.store.root / kind, tmp_path / "other" / kind, dirs_exist_ok=True)  # type: ignore
    with pytest.raises(problems.Damaged, match="another repository"):
        other.load(first)
    assert disks.restored(other, other.load(foreign)) == DISK
    assert disks.save(other, NEXT).new_bytes > 0  # the foreign index is not believed


def test_a_manifest_under_another_ones_name(
    pair: tuple[repository.Repository, str, str], key: Optional[bytes]
) -> None:
    """Replay: yesterday's manifest cannot pass for today's."""
    made, first, second = pair
    root = made.store.root  # type: ignore[attr-defined]
    shutil.copy(root / "manifests" / first, root / "manifests" / second)
    with pytest.raises(problems.Damaged, match="not what its name says"):
        repository.open(DirectoryStore(root), key).load(second)


def test_a_forged_manifest(pair: tuple[repository.Repository, str, str], key: Optional[bytes], tmp_path: Path) -> None:
    """Somebody who may write into the store but has no key makes a manifest; without encryption its name differs."""
    made, first, second = pair
    forger = repository.Repository(made.store, made.header, type(made.vault)(made.header.repository_id, None))
    forged = forger._publish  # made with the code of ours, but without the key
    run = _saved_by(forger)
    name = _publish_forged(forged, run, made)
    assert name not in (first, second)
    if key is not None:
        with pytest.raises(problems.Damaged, match="key of this repository"):
            made.load(name)


def _saved_by(forger: repository.Repository) -> object:
    from onebackup_driver.repository import lookup, saving

    known = lookup.Lookup(forger.store, forger.vault)
    run = saving.Saving(forger.store, forger.vault, SMALL, known, forger.tables, None)
    return run.run(disks.extents(NEXT), len(NEXT), None)


def _publish_forged(publish: object, run: object, made: repository.Repository) -> str:
    before = set(made.names())
    publish(run, len(NEXT), "", {}, clock.Stopwatch())  # type: ignore[operator]
    return (set(made.names()) - before).pop()


def test_keys_that_do_not_fit(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "encrypted")
    repository.create(store, SMALL, disks.KEY)
    for wrong in (None, bytes(32), b"short"):
        with pytest.raises(problems.WrongKey):
            repository.open(store, wrong)
    plain = DirectoryStore(tmp_path / "plain")
    repository.create(plain, SMALL)
    with pytest.raises(problems.WrongKey):
        repository.open(plain, disks.KEY)
    with pytest.raises(problems.AlreadyThere):
        repository.create(plain, SMALL)
    with pytest.raises(problems.NotARepository):
        repository.open(DirectoryStore(tmp_path))


def test_nothing_of_the_disk_is_readable_when_encrypted(directory: DirectoryStore) -> None:
    made = repository.create(directory, SMALL, disks.KEY)
    secret = b"the secret of the guest " * 1000
    disks.save(made, secret, vm="name of the machine")
    for path in (directory.root).rglob("*"):
        if path.is_file():
            stored = path.read_bytes()
            assert b"secret of" not in stored and b"name of the machine" not in stored
