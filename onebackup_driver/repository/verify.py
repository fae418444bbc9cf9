# SPDX-License-Identifier: Apache-2.0
"""Verifying: every cell of the chosen packs is read and its hash compared.

What was found whole is noted in the repository as it goes, see verified.py, so that a run that was broken off can be
resumed and old results can be asked for. Packs with damage are condemned: the next backups store what they held anew.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, Optional, TypeVar, Union

from onebackup_driver import clock
from onebackup_driver.repository import lookup, manifests, notes, problems, reading, verified
from onebackup_driver.repository.format import index, manifest, pack
from onebackup_driver.repository.format.recipe import Recipe
from onebackup_driver.repository.format.vault import CELL_ID_BYTES
from onebackup_driver.repository.repository import Repository
from onebackup_driver.repository.stores import base
from onebackup_driver.repository.verify_report import ALL, DamagedCell, Report

_log = logging.getLogger(__name__)
#: (done, of, of what)
Progress = Callable[[int, int, str], None]
_NOTE_EVERY_S = 60.0
_Content = TypeVar("_Content")
_DAY_S = 24 * 3600


@dataclass(frozen=True)
class Choice:
    """What to check: a random `sample_percent` of the packs, packs not verified for `not_for_days`, or (neither) all;
    `resume`: what the last run that did not end has checked is not checked again."""

    sample_percent: Optional[float] = None
    not_for_days: Optional[float] = None
    resume: bool = False

    @property
    def is_everything(self) -> bool:
        return self.sample_percent is None and self.not_for_days is None


def verify(repository: Repository, choice: Optional[Choice] = None, progress: Optional[Progress] = None) -> Report:
    """Check a repository. Damage is in the report; raises StoreFailed."""
    return _Verification(repository, choice or Choice(), progress).run()


class _Verification:
    def __init__(self, repository: Repository, choice: Choice, progress: Optional[Progress]):
        self._repository, self._choice, self._progress = repository, choice, progress
        self._report, self._lock = Report(), threading.Lock()
        self._run, self._began = secrets.token_hex(8), clock.now()
        self._whole: list[bytes] = []
        self._all_whole: set[bytes] = set()
        self._suspects: set[bytes] = set()
        self._bad: list[tuple[bytes, str, str]] = []
        self._missing: set[str] = set()  # packs that are gone, or lack another one
        self._noted = clock.monotonic()
        self._done = 0
        self._failure: Optional[BaseException] = None

    def run(self) -> Report:
        packs = self._manifests()
        self._indexes()
        chosen = self._chosen(sorted(packs), self._notes())
        self._report.passed_over = len(packs) - len(chosen)
        self._total = len(chosen)
        self._check_all(iter(chosen))
        verified.finish(self._repository, self._run, self._began, self._all_whole, self._choice.is_everything)
        self._name_restore_points()
        self._condemn()
        self._tidy(packs)
        return self._report

    def _tidy(self, packs: set[bytes]) -> None:
        try:
            verified.prune(self._repository, packs)
        except problems.RepositoryError as error:
            _log.warning("notes of what was verified were not removed: %s", error)  # the next verify does it

    def _manifests(self) -> set[bytes]:
        packs: set[bytes] = set()
        missing = []
        listed = list(self._repository.store.list(manifest.PREFIX))
        for done, entry in enumerate(listed, 1):
            if self._progress is not None:
                self._progress(done, len(listed), "restore points read")
            name = entry.name[len(manifest.PREFIX) :]
            try:
                packs |= {item.pack_id for item in self._repository.cells(name).entries}
                self._report.restore_points += 1
                self._check_length(entry, name)
            except problems.Damaged as error:
                self._report.objects.append((error.name, error.reason))
            except problems.Missing:
                missing.append(name)
        self._repository.confirm_deleted(missing)
        return packs

    def _check_length(self, entry: base.Entry, name: str) -> None:
        places = manifests.head(self._repository.store, self._repository.vault, name).places
        if entry.size_bytes != sum(places.sections[-1]):
            raise problems.Damaged(entry.name, "it is longer or shorter than it says")

    def _notes(self) -> verified.History:
        """What was verified before. Damaged notes on condemned packs are written anew by gc; what one on verified packs
        said is found out again."""
        damaged: list[problems.Damaged] = []
        notes.condemned(self._repository, damaged)
        told: list[problems.Damaged] = []
        history = verified.History(self._repository, told)
        for error in told:
            self._repository.store.delete(error.name)
        objects = self._report.objects
        objects += [(error.name, f"{error.reason}; onebackup repository gc writes it anew") for error in damaged]
        objects += [(error.name, f"{error.reason}; it is removed, nothing depends on it") for error in told]
        return history

    def _indexes(self) -> None:
        for entry in list(self._repository.store.list(index.PREFIX)):
            try:
                file = base.steadily(lambda name=entry.name: self._index(name))  # type: ignore[misc]
            except problems.Missing:
                continue
            except problems.Damaged as error:
                self._report.objects.append((error.name, error.reason))
                continue
            try:
                file.check()
            except problems.Damaged as error:
                self._report.objects.append((error.name, error.reason))
            finally:
                file.close()

    def _index(self, name: str) -> lookup.IndexFile:
        """As it is in the store, whatever a copy on this machine says."""
        return lookup.IndexFile(self._repository.store, self._repository.vault, name, fresh=True)

    def _chosen(self, packs: list[bytes], history: verified.History) -> list[bytes]:
        choice = self._choice
        if choice.resume:
            run, done = history.unfinished()
            self._run = run or self._run
            packs = [pack_id for pack_id in packs if pack_id not in done]
        if choice.not_for_days is not None:
            seen, limit = history.last_verified(), self._began - choice.not_for_days * _DAY_S
            packs = [pack_id for pack_id in packs if seen.get(pack_id, 0) < limit]
        if choice.sample_percent is not None:
            packs = random.sample(packs, min(len(packs), -int(-len(packs) * choice.sample_percent // 100)))
        return packs

    def _check_all(self, packs: Iterator[bytes]) -> None:
        threads = [
            threading.Thread(target=self._work, args=(packs,), daemon=True)
            for _ in range(self._repository.store.parallel)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as error:  # a signal
            self._failure = error
            raise
        if self._failure is not None:
            raise self._failure

    def _work(self, packs: Iterator[bytes]) -> None:
        try:
            repository = self._repository
            reader = reading.CellReader(repository.store, repository.vault, repository.parameters)
            while True:
                with self._lock:
                    pack_id = None if self._failure is not None else next(packs, None)
                if pack_id is None:
                    return
                self._check(reader, pack_id)
        except BaseException as error:  # raised again by run
            self._failure = self._failure or error

    def _check(self, reader: reading.CellReader, pack_id: bytes) -> None:
        name = pack.name_of(pack_id)
        try:
            table = _surely(lambda: self._table(pack_id))
        except (problems.Damaged, problems.Missing) as error:
            if isinstance(error, problems.Missing):
                self._missing.add(name)
            self._table_is_bad(pack_id, name, _reason(error, name))
            return
        results = (self._problem(reader, table, number) for number in range(len(table.offsets)))
        bad = [found for found in results if found is not None]
        with self._lock:
            self._report.packs += 1
            self._report.cells += len(table.offsets)
            self._report.data_bytes += sum(table.recipe(number).length for number in range(len(table.offsets)))
            self._bad += [(cell_id, name, reason) for cell_id, reason, _ in bad]
            self._suspects.update(suspect for _, _, suspects in bad for suspect in suspects)
            self._checked(None if bad else pack_id)

    def _table(self, pack_id: bytes) -> pack.Table:
        store = self._repository.store
        table = self._repository.tables.table(reading.entry_of(store, pack_id))
        if store.get(table.name, 0, pack.HEAD_BYTES) != pack.head(self._repository.vault, pack_id):
            raise problems.Damaged(table.name, "its head is not that of this pack")
        return table

    def _problem(
        self, reader: reading.CellReader, table: pack.Table, number: int
    ) -> Optional[tuple[bytes, str, set[bytes]]]:
        found: Recipe = table.recipe(number)
        try:
            _surely(lambda: reader.read(found))
            return None
        except (problems.Damaged, problems.Missing) as error:
            if isinstance(error, problems.Missing):
                self._missing.add(table.name)
            return found.cell_id, _reason(error, table.name), {frame.pack_id for frame in found.frames}

    def _table_is_bad(self, pack_id: bytes, name: str, reason: str) -> None:
        with self._lock:
            self._report.packs += 1
            self._report.objects.append((name, reason))
            self._suspects.add(pack_id)
            self._bad.append((b"", name, reason))
            self._checked(None)

    def _checked(self, whole: Optional[bytes]) -> None:
        """Under the lock."""
        self._done += 1
        if whole is not None:
            self._whole.append(whole)
            self._all_whole.add(whole)
        if self._progress is not None:
            self._progress(self._done, self._total, "packs verified")
        if clock.monotonic() - self._noted > _NOTE_EVERY_S:
            verified.record(self._repository, self._run, self._began, self._whole)
            self._whole, self._noted = [], clock.monotonic()

    def _name_restore_points(self) -> None:
        if not self._bad:
            return
        points: list[set[str]] = [set() for _ in self._bad]
        for name in self._repository.names():
            for number in self._found_in(name):
                points[number].add(name)
        self._report.damaged = [
            DamagedCell(cell_id.hex() or ALL, where, reason, tuple(sorted(found)))
            for (cell_id, where, reason), found in zip(self._bad, points)
            if found or where not in self._missing  # deleted by gc after its last restore point was
        ]
        kept = {cell.pack for cell in self._report.damaged}
        objects = self._report.objects
        self._report.objects = [item for item in objects if item[0] not in self._missing or item[0] in kept]

    def _found_in(self, name: str) -> Iterator[int]:
        try:
            loaded = self._repository.cells(name)
        except (problems.Damaged, problems.Missing):
            return
        packs = {pack.name_of(entry.pack_id) for entry in loaded.entries}
        all_ids = bytes(loaded.cells.ids)
        ids = {all_ids[at : at + CELL_ID_BYTES] for at in range(0, len(all_ids), CELL_ID_BYTES)}
        for number, (cell_id, where, _) in enumerate(self._bad):
            if cell_id in ids or (not cell_id and where in packs):
                yield number

    def _condemn(self) -> None:
        """Nothing new refers to a pack with damage; one that is whole again is free again."""
        known: set[bytes] = set()
        for old in notes.condemned(self._repository, []):
            if old.reason != notes.DAMAGED:
                continue
            remaining = old.packs - (self._all_whole - self._suspects)
            known |= remaining
            if remaining != old.packs:
                notes.replace(self._repository, old, remaining)
        if self._suspects - known:
            notes.condemn(self._repository, notes.DAMAGED, self._suspects - known)


def _surely(read: Callable[[], _Content]) -> _Content:
    """Read; once more when it came damaged or was not found: only what is so the second time is told as damage."""
    try:
        return read()
    except (problems.Damaged, problems.Missing):
        return read()


def _reason(error: Union[problems.Damaged, problems.Missing], name: str) -> str:
    """What is wrong, for a line that begins with `name`."""
    if error.name != name:
        return str(error)
    return error.reason if isinstance(error, problems.Damaged) else "it is not in the repository"
