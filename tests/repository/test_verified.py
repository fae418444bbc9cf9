# SPDX-License-Identifier: Apache-2.0
"""Notes of what was verified: they say when, and do not pile up."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Optional

import pytest

from onebackup_driver.repository import notes, problems, repository, verified, verify
from onebackup_driver.repository.format import note
from onebackup_driver.repository.stores import base
from onebackup_driver.repository.stores.directory import DirectoryStore
from onebackup_driver.repository.verify import Choice

from . import disks, stores
from .test_gc import age

DAY_S = 24 * 3600
#: Ids of packs that are in no store.
GONE = [bytes([number]) * 16 for number in range(9)]


@pytest.fixture
def made(directory: DirectoryStore) -> repository.Repository:
    return repository.create(directory, disks.SMALL)


@pytest.fixture
def filled(made: repository.Repository) -> repository.Repository:
    disks.save(made, disks.content(30))
    return made


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note for each pack."""
    monkeypatch.setattr(verify, "_NOTE_EVERY_S", -1.0)


def noted(made: repository.Repository) -> list[str]:
    return [entry.name for entry in made.store.list(note.VERIFIED)]


def packs(made: repository.Repository) -> list[bytes]:
    return [verify.pack.id_of(entry.name) for entry in made.store.list("packs/")]


def dated(made: repository.Repository, names: list[str], days_ago: float) -> None:
    """As if the store had written these so long ago."""
    for name in names:
        at = time.time() - days_ago * DAY_S
        os.utime(made.store.root / name, (at, at))  # type: ignore[attr-defined]


def broken_off(made: repository.Repository, after: int = 40, choice: Optional[Choice] = None) -> None:
    def act(number: int, when: str, kind: str, name: str) -> None:
        if number == after:
            raise problems.StoreFailed("gone")

    with pytest.raises(problems.StoreFailed):
        verify.verify(repository.open(stores.Counted(made.store, act)), choice)


def test_notes_do_not_pile_up(store: base.Store, often: None) -> None:
    made = repository.create(store, disks.SMALL)
    disks.save(made, disks.content(12))
    for _ in range(3):
        assert verify.verify(made).is_whole
        assert len(noted(made)) <= 2  # two runs in one second of the store
    assert set(verified.History(made).last_verified()) == set(packs(made))


def test_what_only_an_older_note_says_stays(filled: repository.Repository) -> None:
    """Samples: a note goes when the last of its packs was verified later."""
    verify.verify(filled, Choice(not_for_days=0))
    first = noted(filled)
    dated(filled, first, 10)
    while set(first) & set(noted(filled)):
        seen = verified.History(filled).last_verified()
        old = {pack_id for pack_id, at in seen.items() if at < time.time() - 9 * DAY_S}
        assert set(seen) == set(packs(filled)) and old
        assert verify.verify(filled, Choice(not_for_days=9, sample_percent=20)).packs <= len(old)
    assert len(noted(filled)) >= 3
    assert verify.verify(filled, Choice(not_for_days=9)).packs == 0


def test_a_note_on_packs_that_are_gone_goes(filled: repository.Repository, directory: DirectoryStore) -> None:
    verified.finish(filled, "old", 5.0, GONE[:2], everything=False)
    verified.finish(filled, "half", 5.0, [GONE[0], packs(filled)[0]], everything=False)
    dated(filled, noted(filled), 3)
    old = noted(filled)
    kept = set(packs(filled)[1:])
    verified.finish(filled, "new", time.time(), kept, everything=False)
    assert verified.prune(filled, kept) == 1
    assert len(set(old) & set(noted(filled))) == 1
    assert set(verified.History(filled).last_verified()) == {GONE[0], *packs(filled)}


def test_a_listing_that_lacks_what_is_new_costs_nothing(filled: repository.Repository) -> None:
    verified.finish(filled, "new", time.time(), GONE[:1], everything=False)
    assert verified.prune(filled, set()) == 0


def test_nothing_goes_when_the_packs_cannot_be_listed(filled: repository.Repository) -> None:
    verified.finish(filled, "old", 5.0, GONE[:1], everything=False)

    def act(number: int, when: str, kind: str, name: str) -> None:
        if kind == "list" and name == "packs/":
            raise problems.StoreFailed("half a listing")

    opened = repository.open(stores.Counted(filled.store, act))
    assert verify.verify(opened).is_whole  # what was found is told all the same
    assert len(noted(filled)) == 2


def test_a_run_that_was_broken_off_outlives_samples(filled: repository.Repository, often: None) -> None:
    broken_off(filled)
    run, done = verified.History(filled).unfinished()
    assert run and 0 < len(done) < len(packs(filled))
    for _ in range(3):
        verify.verify(filled, Choice(not_for_days=0))  # everything, but nobody said so
        assert verified.History(filled).unfinished() == (run, done)
    assert verify.verify(filled, Choice(resume=True)).packs == len(packs(filled)) - len(done)
    assert verified.History(filled).unfinished() == ("", set())


def test_a_run_that_was_broken_off_ends_with_one_that_checked_everything(
    filled: repository.Repository, often: None
) -> None:
    broken_off(filled)
    assert verify.verify(filled).is_whole
    assert len(noted(filled)) == 1
    assert verify.verify(filled, Choice(resume=True)).packs == len(packs(filled))


def test_of_runs_that_are_broken_off_each_day_only_the_last_ones_stay(
    filled: repository.Repository, often: None
) -> None:
    for days_ago in range(30, 0, -3):
        before = noted(filled)
        broken_off(filled)
        dated(filled, [name for name in noted(filled) if name not in before], days_ago)
    verify.verify(filled, Choice(not_for_days=0))
    runs = {content["run"] for _, content, _ in notes.every(filled, note.VERIFIED)}
    assert len(runs) == 1 + 2  # its own, and those of the last seven days
    before = noted(filled)
    dated(filled, before, 90)
    verify.verify(filled, Choice(not_for_days=0))
    assert verified.History(filled).unfinished()[0]
    assert len({content["run"] for _, content, _ in notes.every(filled, note.VERIFIED)}) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_step(filled: repository.Repository, often: None, tmp_path: Path, when: str) -> None:
    """What was known before is known after, and no run that came to its end seems to be broken off."""
    for number in range(2):
        run = f"run {number}"
        for pack_id in packs(filled):
            verified.record(filled, run, time.time(), [pack_id])
        verified.finish(filled, run, time.time(), packs(filled), everything=False)
    known = verified.History(filled).last_verified()
    root = filled.store.root  # type: ignore[attr-defined]
    at, done = 0, False
    while not done:
        at += 1
        store = stores.failing(DirectoryStore(shutil.copytree(root, tmp_path / f"{at}")), at, when)
        try:
            verified.prune(repository.open(store), set(packs(filled)))
        except problems.StoreFailed:
            pass
        done = store.count < at
        opened = repository.open(DirectoryStore(tmp_path / f"{at}"))
        assert verified.History(opened).last_verified() == known
        assert verified.History(opened).unfinished() == ("", set())
        shutil.rmtree(tmp_path / f"{at}")
    assert at > 15


def test_two_who_clear_up_at_once(filled: repository.Repository) -> None:
    """Each looks before the other one removes anything, and the notes were written in the same moment."""
    for number in range(4):
        verified.finish(filled, f"run {number}", 1000.0, packs(filled), everything=False)
    before = verified.History(filled).last_verified()
    going = [verified.History(filled).superseded(set(packs(filled))) for _ in range(2)]
    for name in {*going[0], *going[1]}:
        filled.store.delete(name)
    assert len(noted(filled)) == 1 and verified.History(filled).last_verified() == before


def test_no_clock_makes_a_verification_newer_than_the_store_says(filled: repository.Repository) -> None:
    """One whose clock is ahead writes last a long time ago; one whose clock is behind just now."""
    ahead, behind = packs(filled)[:2]
    verified.finish(filled, "ahead", time.time() + 400 * DAY_S, [ahead], everything=False)
    dated(filled, noted(filled), 20)
    verified.finish(filled, "behind", time.time() - 400 * DAY_S, [behind], everything=False)
    seen = verified.History(filled).last_verified()
    assert abs(seen[ahead] - (time.time() - 20 * DAY_S)) < 60 and seen[behind] < time.time() - 399 * DAY_S
    assert verify.verify(filled, Choice(not_for_days=10)).packs == len(packs(filled))


def test_who_is_in_the_past_removes_nothing(filled: repository.Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    verify.verify(filled, Choice(not_for_days=0))
    before = noted(filled)
    monkeypatch.setattr(verify.clock, "now", lambda: int(time.time()) - 400 * DAY_S)
    assert verify.verify(filled, Choice(not_for_days=1)).passed_over == 0  # it believes nothing of the future either
    monkeypatch.undo()
    assert set(before) <= set(noted(filled))
    assert verify.verify(filled, Choice(not_for_days=1)).packs == 0


def test_the_end_of_a_run_stays_as_long_as_the_run_has_notes(filled: repository.Repository) -> None:
    """Otherwise it would seem to be one that was broken off."""
    first, second = packs(filled)[:2]
    verified.record(filled, "run", 1000.0, [first])
    verified.finish(filled, "run", 1000.0, [second], everything=False)
    verified.finish(filled, "later", 2000.0, [second], everything=False)
    assert verified.prune(filled, set(packs(filled))) == 0
    assert verified.History(filled).unfinished() == ("", set())


def test_what_was_broken_off_before_everything_was_checked_is_not_resumed(filled: repository.Repository) -> None:
    """Also when all that the note on everything says was verified again since: damage has no note."""
    damaged, whole = packs(filled)[:2]
    verified.record(filled, "broken off", 1000.0, [damaged])
    dated(filled, noted(filled), 1)
    verified.finish(filled, "everything", 2000.0, [whole], everything=True)
    verified.finish(filled, "sample", 3000.0, [whole], everything=False)
    verified.prune(filled, set(packs(filled)))
    assert verified.History(filled).unfinished() == ("", set())


def test_many_packs_take_several_notes(filled: repository.Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "_PACKS", 4)
    verify.verify(filled)
    assert len(noted(filled)) == -(-len(packs(filled)) // 4)
    assert set(verified.History(filled).last_verified()) == set(packs(filled))
    age(filled, 1)
    verify.verify(filled)
    assert len(noted(filled)) == -(-len(packs(filled)) // 4)


def test_notes_of_older_releases_are_understood(filled: repository.Repository) -> None:
    content = {"run": "a", "began": 5, "time": time.time(), "packs": [packs(filled)[0].hex()], "finished": False}
    notes.put(filled, note.VERIFIED, content)
    assert verified.History(filled).unfinished() == ("a", {packs(filled)[0]})
    notes.put(filled, note.VERIFIED, {**content, "packs": [], "finished": True})
    assert verified.History(filled).unfinished() == ("", set())
    assert abs(verified.History(filled).last_verified()[packs(filled)[0]] - time.time()) < 60
