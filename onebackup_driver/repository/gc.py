# SPDX-License-Identifier: Apache-2.0
"""Collecting garbage: what no restore point needs is condemned, and deleted when it still is so after the grace period.

No lock is needed. A writer never refers to a pack that was condemned when it began, and is refused when it runs
longer than the longest run; so after the grace period, which is longer, nobody can begin to need a condemned pack.
Ages are measured with the clock of the store alone. Each step may be the last one: the next run goes on from there.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Optional

from onebackup_driver import clock, units
from onebackup_driver.repository import lookup, marking, mending, merging, notes, problems, reindexing
from onebackup_driver.repository.format import index, pack
from onebackup_driver.repository.format import manifest as manifest_format
from onebackup_driver.repository.repository import CLOCK, Repository
from onebackup_driver.repository.stores import base

#: So many indexes stay as they are; of more the smallest are merged.
_INDEXES = 8
_REMAINING = 4


@dataclass
class Report:
    """What a run found and did (or would do); sizes in bytes, packs by id."""

    dry_run: bool
    restore_points: int
    used: dict[bytes, int]
    young: dict[bytes, int]
    condemned_now: dict[bytes, int]
    waiting: dict[bytes, int]
    deleted: dict[bytes, int]
    avoided: frozenset[bytes]
    broken: dict[bytes, str]
    grace_s: int
    longest_run_s: int
    damaged: dict[str, str] = field(default_factory=dict)
    unindexed: list[bytes] = field(default_factory=list)
    #: Packs noted as damaged that are gone, and that nothing needs.
    lost: frozenset[bytes] = frozenset()
    merged_indexes: int = 0
    stale: int = 0
    asked_store: bool = True

    def lines(self) -> list[str]:
        """The report in words, one fact a line; of what there is nothing nothing is said."""
        would = "would be " if self.dry_run else ""
        grace, longest = units.duration_in_words(self.grace_s), units.duration_in_words(self.longest_run_s)
        need = "needs" if self.restore_points == 1 else "need"
        said = [f"{units.counted(self.restore_points, 'restore point')} {need} {_packs(self.used)}"]
        for packs, text in (
            (self.deleted, f"{would}deleted: %s that nothing has needed for {grace}"),
            (self.condemned_now, f"{would}condemned: %s that nothing needs; a gc in {grace} deletes them"),
            (self.waiting, f"kept: %s that nothing needs, but condemned less than {grace} ago"),
            (self.young, f"kept: %s that nothing needs, but younger than {longest}: a running backup may need them"),
        ):
            said += [text % _packs(packs)] if packs else []
        if self.avoided:
            avoided = units.counted(len(self.avoided), "condemned pack")
            said.append(f"kept: {avoided} that a restore point needs; nothing new will")
        return said + self._troubles(would) + ([] if self._is_anything() else ["nothing to free"])

    def _troubles(self, would: str) -> list[str]:
        said = [
            f"{name} is damaged: {reason}; {would}removed, what it said is found out anew"
            for name, reason in self.damaged.items()
        ]
        if self.unindexed:
            said.append(f"{would}indexed again: {units.counted(len(self.unindexed), 'needed pack')} that no index knew")
        if self.stale:
            said.append(f"removed: {units.counted(self.stale, 'unfinished object')} of backups that were killed")
        said += [f"needed, but {reason}" for reason in self.broken.values()]
        if self.broken:
            said.append("nothing is deleted while it is not known what these need: see onebackup repository verify")
        if not self.asked_store:
            said.append("the store could not be asked for its time: ages are those by the clock of this machine")
        return said

    def _is_anything(self) -> bool:
        return bool(self.deleted or self.condemned_now or self.waiting or self.young or self.stale)


#: (done, of, of what)
Progress = Callable[[int, int, str], None]


def collect(repository: Repository, dry_run: bool = False, progress: Optional[Progress] = None) -> Report:
    """Mark and sweep. Raises Damaged or StoreFailed, before anything is deleted, when
    not everything can be read."""
    store = repository.store
    now, asked_store = _store_time(repository, dry_run)
    damaged: list[problems.Damaged] = []
    condemned = notes.condemned(repository, damaged)
    packs = list(store.list(pack.PREFIX))
    indexes = mending.sound(lookup.open_indexes(store, repository.vault))
    try:
        bad_indexes = mending.damaged(repository, indexes)
        marked = marking.needed(repository, indexes, _of(progress, "restore points read"))
        report = _decide(repository, marked, condemned, packs, now, dry_run)
        report.asked_store, report.lost = asked_store, _lost(report, marked, condemned, now)
        report.damaged = {**{error.name: error.reason for error in damaged}, **bad_indexes}
        report.unindexed = mending.unknown(indexes, report.used.keys() - _young(packs, now, repository))
        if not dry_run:
            _Sweep(repository, report, condemned, indexes).run(progress)
    finally:
        for file in indexes:
            file.close()
    if not dry_run:
        report.stale = store.remove_stale(now - repository.parameters.grace_s)
    return report


def _young(packs: Iterable[base.Entry], now: float, repository: Repository) -> set[bytes]:
    """Packs whose writer may not have published its index yet, or just has."""
    limit = now - repository.parameters.longest_run_s
    return {pack.id_of(entry.name) for entry in packs if entry.modified > limit}


def _decide(
    repository: Repository,
    marked: marking.Marked,
    condemned: list[notes.Condemned],
    packs: Iterable[base.Entry],
    now: float,
    dry_run: bool,
) -> Report:
    parameters = repository.parameters
    since = _since(condemned)
    report = Report(
        dry_run, marked.restore_points, {}, {}, {}, {}, {}, frozenset(since) & marked.packs, marked.broken,
        parameters.grace_s, parameters.longest_run_s,
    )  # fmt: skip
    for entry in packs:
        pack_id = pack.id_of(entry.name)
        if pack_id in marked.packs:
            kind = report.used
        elif pack_id in since:
            ripe = now - since[pack_id] > parameters.grace_s and not marked.broken
            kind = report.deleted if ripe else report.waiting
        else:
            kind = report.young if now - entry.modified < parameters.longest_run_s else report.condemned_now
        kind[pack_id] = entry.size_bytes
    return report


def _since(condemned: list[notes.Condemned]) -> dict[bytes, float]:
    """Since when each pack is noted as unused. Damaged ones are not meant: verify may take that back."""
    since: dict[bytes, float] = {}
    for known in condemned:
        for pack_id in known.packs if known.reason == notes.UNUSED else ():
            since[pack_id] = min(known.modified, since.get(pack_id, known.modified))
    return since


def _lost(report: Report, marked: marking.Marked, condemned: list[notes.Condemned], now: float) -> frozenset[bytes]:
    """Packs noted as damaged so long ago that a listing would have them."""
    there = {*report.used, *report.young, *report.condemned_now, *report.waiting, *report.deleted, *marked.packs}
    old = [known for known in condemned if known.reason != notes.UNUSED and now - known.modified > report.grace_s]
    return frozenset().union(*(known.packs for known in old)) - there


class _Sweep:
    """The steps that change something, in the only safe order."""

    def __init__(
        self, repository: Repository, report: Report, condemned: list[notes.Condemned], indexes: list[lookup.IndexFile]
    ):
        self._repository, self._report = repository, report
        self._condemned, self._indexes = condemned, indexes

    def run(self, progress: Optional[Progress]) -> None:
        report, store = self._report, self._repository.store
        if report.condemned_now:
            notes.condemn(self._repository, notes.UNUSED, report.condemned_now)
        for name in report.damaged:  # what a note condemned is condemned anew, the grace period begins again
            if not index.is_name(name):
                store.delete(name)
        if report.unindexed or any(index.is_name(name) for name in report.damaged):
            reindexing.reindex(self._repository, progress=_of(progress, "packs read"))
        self._rewrite_indexes()
        deleted = _of(progress, "packs deleted")
        with ThreadPoolExecutor(store.parallel) as pool:
            gone = pool.map(lambda pack_id: store.delete(pack.name_of(pack_id)), report.deleted)
            for done, _ in enumerate(gone, 1):
                if deleted is not None:
                    deleted(done, len(report.deleted))
        self._release()

    def _rewrite_indexes(self) -> None:
        """Nobody shall find a cell in a pack that is about to go."""
        chosen = self._chosen()
        if not chosen:
            return
        report, store = self._report, self._repository.store
        rest = sum(file.said.stored_bytes for file in self._indexes if file not in chosen)
        stored = max(0, self._stored_bytes() - rest)
        merging.merge(store, self._repository.vault, chosen, frozenset(report.deleted), stored)
        for file in chosen:
            store.delete(file.name)
        report.merged_indexes = len(chosen)

    def _chosen(self) -> list[lookup.IndexFile]:
        ascending = sorted(self._indexes, key=lambda file: file.said.cells)
        said, true = sum(file.said.stored_bytes for file in ascending), self._stored_bytes()
        if abs(said - true) > true // 100:
            return ascending  # deleted restore points, or two merged at once: usage is put right
        count = len(ascending) - _REMAINING + 1 if len(ascending) > _INDEXES else 0
        return [file for number, file in enumerate(ascending) if number < count or self._names_deleted(file)]

    def _names_deleted(self, file: lookup.IndexFile) -> bool:
        deleted = self._report.deleted
        return any(pack_id in deleted for pack_id in pack.entry_ids(file.directory.packs))

    def _stored_bytes(self) -> int:
        report, store = self._report, self._repository.store
        kept = sum(sum(kind.values()) for kind in (report.used, report.young, report.condemned_now, report.waiting))
        return kept + sum(entry.size_bytes for entry in store.list(manifest_format.PREFIX))

    def _release(self) -> None:
        """Drop deleted packs from the notes. One that a restore point needs after all stays in them: if it were let go,
        a second gc that has read the note before could delete it when that restore point is deleted in between."""
        report = self._report
        there = {*report.used, *report.waiting, *report.young}
        for known in self._condemned:
            lost = known.packs & (set(report.deleted) | report.lost)
            gone = known.packs - there if known.reason == notes.UNUSED else lost
            if gone:
                notes.replace(self._repository, known, known.packs - gone)


def _of(progress: Optional[Progress], what: str) -> Optional[marking.Progress]:
    return None if progress is None else lambda done, of: progress(done, of, what)


def _store_time(repository: Repository, dry_run: bool) -> tuple[float, bool]:
    """What time it is for the store: of an object that was written just now. A dry run asks in another way, and does
    with the time of this machine where it may only read (False)."""
    if dry_run:
        try:
            return repository.store.time(), True
        except problems.StoreFailed:
            return clock.now(), False
    store, mine = repository.store, f"{CLOCK}{secrets.token_hex(16)}"
    store.put(mine, b"what time is it")
    listed = {entry.name: entry.modified for entry in store.list(CLOCK)}
    if mine not in listed:
        raise problems.StoreFailed(f"{store.place}: {mine} was written, but is not listed: listings come too late")
    for name, modified in listed.items():
        if name == mine or listed[mine] - modified > repository.parameters.grace_s:
            store.delete(name)
    return listed[mine], True


def _packs(packs: dict[bytes, int]) -> str:
    return f"{units.counted(len(packs), 'pack')} ({units.size_in_words(-(-sum(packs.values()) // units.MIB))})"
