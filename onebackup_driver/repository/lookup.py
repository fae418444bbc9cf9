# SPDX-License-Identifier: Apache-2.0
"""Finding a cell that is stored already, anywhere in the repository."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Optional

from onebackup_driver.repository import problems
from onebackup_driver.repository.format import container, index, note, pack
from onebackup_driver.repository.format.vault import Vault
from onebackup_driver.repository.reading import Tables
from onebackup_driver.repository.stores import base

_log = logging.getLogger(__name__)
_ATTEMPTS = 5


class Found(NamedTuple):
    """Where the recipe of a cell is."""

    entry: pack.Entry
    recipe: int


class IndexFile:
    """An index, opened; its buckets are read one at a time from a local file. For all threads."""

    def __init__(self, store: base.Store, vault: Vault, name: str, fresh: bool = False):
        self.name = name
        self.said = index.parse_name(name)
        self._vault = vault
        path = store.local_copy(name, vault.repository_id, fresh)
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise problems.Missing(name) from None
        try:
            self._places = index.decode_places(vault, name, self._read(0, container.head_bytes(5)))
            sections = [self._section(number) for number in (0, 1, 3)]
            self.directory = index.decode_directory(vault, name, self._places, sections)
            self._check_length()
        except BaseException:
            self.close()
            raise

    def _check_length(self) -> None:
        offset, length = self.directory.bounds(self.directory.bucket_count() - 1)
        if os.fstat(self._descriptor).st_size != offset + length:
            raise problems.Damaged(self.name, "it is longer or shorter than it says")

    def check(self) -> None:
        """Look at all of it. Raises Damaged."""
        for number in range(self.directory.bucket_count()):
            self.bucket(number)
        self.used_packs()

    def find(self, cell_id: bytes) -> Iterator[Found]:
        """Raises Damaged."""
        for number, recipe in index.find(self.bucket(self.directory.bucket_of(cell_id)), cell_id):
            yield Found(self.directory.entry(number), recipe)

    def bucket(self, number: int) -> bytes:
        """The records of a bucket, checked. Raises Damaged."""
        content = self._read(*self.directory.bounds(number))
        self.directory.check(self._vault, number, content)
        return content

    def entries(self, pack_ids: set[bytes]) -> Iterator[pack.Entry]:
        """Those of these packs that it knows."""
        for number, pack_id in enumerate(pack.entry_ids(self.directory.packs)):
            if pack_id in pack_ids:
                yield self.directory.entry(number)

    def used_packs(self) -> dict[bytes, list[bytes]]:
        """Which other packs the recipes of each pack use. Raises Damaged."""
        plain = index.decode_section(self._vault, self.name, self._places, 2, self._section(2))
        return index.decode_used(self.name, plain)

    def _section(self, number: int) -> bytes:
        return self._read(*self._places.sections[number])

    def _read(self, offset: int, length: int) -> bytes:
        if offset + length > os.fstat(self._descriptor).st_size:
            raise problems.Damaged(self.name, "it is cut off")
        content = os.pread(self._descriptor, length, offset)
        if len(content) != length:
            raise problems.Damaged(self.name, "it is cut off")
        return content

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Lookup:
    """All indexes as they were when it was opened, and the packs that must not be referred to. For all threads."""

    def __init__(self, store: base.Store, vault: Vault):
        self._store = store
        self._there: dict[bytes, bool] = {}
        self.avoided = condemned_packs(store, vault)
        self.indexes = open_indexes(store, vault)
        if self.avoided:
            self.avoided |= self._users_of(self.avoided)

    def _users_of(self, packs: set[bytes]) -> set[bytes]:
        return {user for used_by in self._uses() for user, used in used_by.items() if not packs.isdisjoint(used)}

    def _uses(self) -> Iterator[dict[bytes, list[bytes]]]:
        """Which packs use which, index by index. One that cannot tell is done without: the packs that it alone knew
        tell themselves."""
        for file in list(self.indexes):
            try:
                yield file.used_packs()
            except problems.Damaged as error:
                _log.warning("%s; it is passed over", error)
                self.indexes.remove(file)
                file.close()

    def _used_by(self, users: set[bytes]) -> list[pack.Entry]:
        """The other packs that recipes of these use, as far as the indexes know them."""
        used: set[bytes] = set()
        for used_by in self._uses():
            used.update(other for user in users & used_by.keys() for other in used_by[user])
        return [entry for file in self.indexes for entry in file.entries(used - users)]

    def avoid_users_among(self, entries: list[pack.Entry], tables: Tables) -> None:
        """Packs that no index knows (it may be lost) tell themselves whether they use packs that must be avoided."""
        if not self.avoided:
            return
        unknown = {entry.pack_id: entry for entry in entries if entry.pack_id not in self.avoided}
        for file in self.indexes:
            for pack_id in pack.entry_ids(file.directory.packs):
                unknown.pop(pack_id, None)
        for pack_id, entry in unknown.items():
            try:
                used = tables.table(entry).packs
            except (problems.Damaged, problems.Missing):
                used = list(self.avoided)
            if not self.avoided.isdisjoint(used):
                self.avoided.add(pack_id)

    def avoid_missing(self, entries: list[pack.Entry]) -> None:
        """Nothing new refers to packs that are gone or cut off, nor to those that use them: it is stored again."""
        needed = [*entries, *self._used_by({entry.pack_id for entry in entries})]
        with ThreadPoolExecutor(self._store.parallel) as pool:
            lost = {entry.pack_id for entry, there in zip(needed, pool.map(self._usable, needed)) if not there}
        for pack_id in lost - self.avoided:
            _log.warning("%s is gone or cut off; verify tells which restore points need it", pack.name_of(pack_id))
        self.avoided |= lost | (self._users_of(lost) if lost else set())

    def find(self, cell_id: bytes) -> Optional[Found]:
        """Where the cell is, in a pack that is there and may be referred to; None when it must be stored."""
        for file in self.indexes:
            try:
                for found in file.find(cell_id):
                    if self._usable(found.entry):
                        return found
            except problems.Damaged as error:
                _log.warning("%s; it is passed over", error)
        return None

    def _usable(self, entry: pack.Entry) -> bool:
        if entry.pack_id in self.avoided:
            return False
        there = self._there.get(entry.pack_id)
        if there is None:
            there = self._is_whole(entry)
            self._there[entry.pack_id] = there
        return there

    def _is_whole(self, entry: pack.Entry) -> bool:
        try:
            return self._store.size(pack.name_of(entry.pack_id)) == entry.size_bytes
        except problems.Missing:
            return False

    def close(self) -> None:
        for file in self.indexes:
            file.close()


def condemned_packs(store: base.Store, vault: Vault) -> set[bytes]:
    """Packs that gc or verify have noted: nothing new may refer to them. Raises Damaged."""
    packs: set[bytes] = set()
    read = partial(_condemned, store, vault)
    for _, content in base.every(store, note.CONDEMNED, read):
        packs.update(bytes.fromhex(text) for text in content["packs"])
    return packs


def _condemned(store: base.Store, vault: Vault, name: str) -> dict[str, Any]:
    try:
        return base.steadily(lambda: note.decode(vault, name, store.get(name)))
    except problems.Damaged as error:
        raise problems.Damaged(error.name, f"{error.reason}; onebackup repository gc writes it anew") from error


def open_indexes(store: base.Store, vault: Vault) -> list[IndexFile]:
    """Open all indexes; one that is merged away meanwhile is found in a new listing. Damaged ones are passed over."""
    opened: dict[str, IndexFile] = {}
    for attempt in range(_ATTEMPTS):
        names = [entry.name for entry in store.list(index.PREFIX)]
        try:
            for name in names:
                if name not in opened:
                    _open_into(opened, store, vault, name)
            # copies of merged indexes go, and of damaged ones: it may be only the copy that is damaged
            store.keep_copies(opened, vault.repository_id)
            return sorted(opened.values(), key=lambda file: -file.said.cells)
        except problems.Missing:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def open_index(store: base.Store, vault: Vault, name: str) -> IndexFile:
    """Open one; when the local copy is damaged, that of the store. Raises Damaged, Missing."""
    try:
        return IndexFile(store, vault, name)
    except problems.Damaged:
        return IndexFile(store, vault, name, fresh=True)


def _open_into(opened: dict[str, IndexFile], store: base.Store, vault: Vault, name: str) -> None:
    try:
        opened[name] = open_index(store, vault, name)
    except problems.Damaged as error:
        _log.warning("%s; it is passed over", error)
