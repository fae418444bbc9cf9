# SPDX-License-Identifier: Apache-2.0
"""Indexes that are damaged or lost: told apart from good ones, and made anew from the packs that restore points need."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable

from onebackup_driver.repository import problems, reading
from onebackup_driver.repository.format import index, pack
from onebackup_driver.repository.lookup import IndexFile
from onebackup_driver.repository.repository import Repository

_log = logging.getLogger(__name__)
#: So many cells go into one new index: they are in memory together.
_CELLS = 100_000


def sound(indexes: Iterable[IndexFile]) -> list[IndexFile]:
    """Those of which every part is as it was written; the others are closed."""
    good = []
    for file in indexes:
        try:
            file.check()
            good.append(file)
        except problems.Damaged as error:
            _log.warning("%s; it is passed over", error)
            file.close()
    return good


def damaged(repository: Repository, good: Iterable[IndexFile]) -> dict[str, str]:
    """Names of listed indexes that are not as they were written in the store either, and why. Raises StoreFailed."""
    found, known = {}, {file.name for file in good}
    for entry in list(repository.store.list(index.PREFIX)):
        if entry.name in known or not index.is_name(entry.name):
            continue
        try:
            file = IndexFile(repository.store, repository.vault, entry.name, fresh=True)
        except problems.Missing:
            continue  # merged meanwhile
        except problems.Damaged as error:
            found[entry.name] = error.reason
            continue
        try:
            file.check()
        except problems.Damaged as error:
            found[entry.name] = error.reason
        finally:
            file.close()
    return found


def unknown(indexes: Iterable[IndexFile], packs: Iterable[bytes]) -> list[bytes]:
    """Those packs that no index knows."""
    left = set(packs)
    for file in indexes:
        entries = file.directory.packs
        left.difference_update(entries[at : at + 16] for at in range(0, len(entries), pack.ENTRY_BYTES))
    return sorted(left)


def add(repository: Repository, packs: Iterable[bytes]) -> int:
    """Publish indexes of these packs, made from their own tables; how many packs could be read."""
    made, batch = 0, _Batch(repository)
    for pack_id in packs:
        try:
            batch.add(reading.entry_of(repository.store, pack_id))
            made += 1
        except (problems.Damaged, problems.Missing) as error:
            _log.warning("%s; its cells are not found again", error)
        if len(batch.records) >= _CELLS:
            batch.publish()
            batch = _Batch(repository)
    if batch.records:
        batch.publish()
    return made


class _Batch:
    def __init__(self, repository: Repository):
        self._repository = repository
        self._entries: list[pack.Entry] = []
        self._used: dict[bytes, list[bytes]] = {}
        self.records: list[bytes] = []

    def add(self, entry: pack.Entry) -> None:
        table = self._repository.tables.table(entry)
        number = len(self._entries)
        for recipe in range(len(table.offsets)):
            self.records.append(index.record(table.recipe(recipe).cell_id, number, recipe))
        self._entries.append(entry)
        if table.packs[1:]:
            self._used[entry.pack_id] = table.packs[1:]

    def publish(self) -> None:
        entries = b"".join(entry.encode() for entry in self._entries)
        stored = sum(entry.size_bytes for entry in self._entries)
        name, content = index.build(
            self._repository.vault, secrets.token_bytes(16), self.records, entries, self._used, stored
        )
        if not self._repository.store.put(name, content):
            raise problems.StoreFailed(f"{self._repository.store.place}: {name} exists already")
