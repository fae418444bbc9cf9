# SPDX-License-Identifier: Apache-2.0
"""A repository: restore points of disks, deduplicated, compressed, verified when read, perhaps encrypted.

Any number of processes may save, read and delete at once. All offsets and lengths are in bytes.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Callable, NamedTuple, Optional

from onebackup_driver import clock
from onebackup_driver.repository import lookup, manifests, merging, problems, reading, restoring, saving
from onebackup_driver.repository.extent import Confirmable, Extent
from onebackup_driver.repository.format import header, index, note, pack
from onebackup_driver.repository.format import manifest as manifest_format
from onebackup_driver.repository.format.cells import UNKNOWN, Cell
from onebackup_driver.repository.format.header import Parameters
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.format.recipe import Recipe
from onebackup_driver.repository.format.vault import Vault
from onebackup_driver.repository.manifests import Loaded
from onebackup_driver.repository.stores import base
from onebackup_driver.units import MIB

#: Where gc asks the store for its time, and merging for the right to merge.
CLOCK = "clock/"
_FOLDERS = (pack.PREFIX, index.PREFIX, manifest_format.PREFIX, note.CONDEMNED, note.VERIFIED, CLOCK)
_log = logging.getLogger(__name__)
_LOADED = 4
_KEPT_CELLS = 4


Complete = Callable[[saving.Saved], dict[str, Any]]


class Usage(NamedTuple):
    """What all objects take, in MiB and in bytes; `free_mb` is None when the store does not know an end."""

    used_mb: int
    free_mb: Optional[int]
    used_bytes: int


def create(store: base.Store, parameters: Optional[Parameters] = None, key: Optional[bytes] = None) -> Repository:
    """Make a new repository; with a `key` (32 bytes, see keys.py) it is encrypted.

    Raises AlreadyThere, UsageError for parameters that do not fit together, StoreFailed.
    """
    parameters = parameters or Parameters()
    if parameters.problem():
        raise problems.NotARepository(parameters.problem())
    repository_id = os.urandom(16)
    vault = Vault(repository_id, key)
    made = header.Header(repository_id, clock.now(), parameters, key is not None)
    store.prepare(_FOLDERS)
    if not store.put(header.NAME, header.encode(made, vault)):
        raise problems.AlreadyThere(f"there is a repository at {store.place} already")
    return Repository(store, made, vault)


def open(store: base.Store, key: Optional[bytes] = None) -> Repository:
    """Open a repository. Raises NotARepository, WrongKey, Damaged, StoreFailed."""
    try:
        return Repository(store, *base.steadily(lambda: header.decode(store.get(header.NAME), key)))
    except problems.Missing:
        raise problems.NotARepository(
            f"there is no repository at {store.place}: is it mounted? A new one is made with:"
            f" onebackup repository create {store.place}"
        ) from None


class Repository:
    """One repository, opened. For all threads."""

    def __init__(self, store: base.Store, head: header.Header, vault: Vault):
        self.store, self.header, self.vault = store, head, vault
        self.tables = reading.Tables(store, vault, head.parameters)
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._cells: OrderedDict[bytes, bytes] = OrderedDict()
        self._readers: list[reading.CellReader] = []

    @property
    def parameters(self) -> Parameters:
        return self.header.parameters

    def save(
        self,
        stream: Iterable[Extent],
        size_bytes: int,
        parent: Optional[str] = None,
        facts: Optional[dict[str, Any]] = None,
        progress: Optional[saving.Progress] = None,
        complete: Optional[Complete] = None,
    ) -> Manifest:
        """Store a disk as a restore point; its manifest is published last.

        `stream`: the disk's extents, ascending; what no extent covers is zeros. It is confirmed (extent.Confirmable)
        after all was read. `parent`: the name of the restore point to compare with; one that is gone is no error.
        `facts`: what JSON can hold. `progress(done_bytes, of_bytes)` is called often, by several threads.
        `complete` is called when all packs are stored, with what can be read like an opened restore point (Loaded of
        its cells and entries); the facts that it returns are added. When it raises, nothing is published.
        Raises SourceChanged, StoreFailed, RunTooLong and whatever the stream raises: then nothing is published.
        """
        watch = clock.Stopwatch()
        known = lookup.Lookup(self.store, self.vault)
        try:
            before = self._parent(parent or "")
            if before is not None:
                known.avoid_missing(before.entries)
                known.avoid_users_among(before.entries, self.tables)
            run = saving.Saving(self.store, self.vault, self.parameters, known, self.tables, before)
            saved = run.run(stream, size_bytes, progress)
        finally:
            known.close()
        if isinstance(stream, Confirmable):
            stream.confirm()
        more = complete(saved) if complete is not None else {}
        made = self._publish(saved, size_bytes, parent or "", {**(facts or {}), **more}, watch)
        if merging.is_due([file.name for file in known.indexes]):
            self._tidy()
        return made

    def _parent(self, name: str) -> Optional[saving.Parent]:
        if not name:
            return None
        try:
            return saving.Parent(*self.cells(name))
        except problems.Missing:
            return None
        except problems.Damaged as error:
            _log.warning("%s; this backup does without its parent", error)
            return None

    def _publish(
        self, saved: saving.Saved, size_bytes: int, parent: str, facts: dict[str, Any], watch: clock.Stopwatch
    ) -> Manifest:
        stored = sum(entry.size_bytes for entry in saved.own)
        created, micros = divmod(clock.now_micros(), 1_000_000)
        draft = Manifest("", created, size_bytes, parent, facts, saved.data_bytes, saved.new_bytes, stored, micros)
        name, content = manifest_format.encode(self.vault, os.urandom(16), draft, saved.cells, saved.entries)
        merging.publish_index(self.store, self.vault, saved, stored + len(content))
        _check_time(watch, self.parameters.longest_run_s)
        if not self.store.put(f"{manifest_format.PREFIX}{name}", content):
            raise problems.StoreFailed(f"the manifest {name} exists already")
        try:  # between the look at the clock and the end of the put the machine may have slept
            _check_time(watch, self.parameters.grace_s)
        except problems.RunTooLong:
            self.store.delete(f"{manifest_format.PREFIX}{name}")
            raise
        return draft._replace(name=name)

    def _tidy(self) -> None:
        try:
            merging.merge_small(self.store, self.vault, CLOCK)
        except (problems.RepositoryError, OSError) as error:
            _log.warning("the indexes were not merged: %s", error)  # the restore point is safe; gc does it

    def manifests(self) -> Iterator[Manifest]:
        """All restore points, oldest first. Raises Damaged for one that is not whole, StoreFailed."""
        missing = []
        for name, made in manifests.heads(self.store, self.vault, self.names()):
            if made is None:
                missing.append(name)
            else:
                yield made
        self.confirm_deleted(missing)

    def confirm_deleted(self, names: Collection[str]) -> None:
        """Raises StoreFailed for a restore point that is listed, but not found: it was not deleted meanwhile."""
        there = set(names) & set(self.names()) if names else set()
        for name in sorted(there):
            raise problems.StoreFailed(f"{self.store.place}: {manifest_format.PREFIX}{name} is listed, but not found")

    def names(self) -> list[str]:
        """The names of all manifests, oldest first. Raises StoreFailed unless all are known."""
        return sorted(entry.name[len(manifest_format.PREFIX) :] for entry in self.store.list(manifest_format.PREFIX))

    def load(self, name: str) -> Manifest:
        """A restore point by name. Raises Missing, Damaged."""
        return manifests.head(self.store, self.vault, name).manifest

    def delete(self, name: str) -> None:
        """Remove a restore point; one that is gone is no error. The space comes back with gc."""
        manifest_format.check_name(name)
        self.store.delete(f"{manifest_format.PREFIX}{name}")
        with self._lock:
            self._loaded.pop(name, None)

    def usage(self) -> Usage:
        """What the repository takes, from the names of its few indexes: as quick for a large one."""
        listed = list(self.store.list(index.PREFIX))
        used = sum(index.parse_name(entry.name).stored_bytes + entry.size_bytes for entry in listed)
        used_mb, free_mb = -(-used // MIB), self.store.free_mb()
        if free_mb is None and self.store.quota_mb is not None:
            free_mb = max(0, self.store.quota_mb - used_mb)
        return Usage(used_mb, free_mb, used)

    def extents(self, manifest: Manifest) -> Iterator[tuple[int, int, bool]]:
        """The whole disk as (offset, length, zero?), in order, neighbours of one kind joined; exact to a block."""
        with problems.of_restore_point(manifest.name):
            yield from restoring.extents(self, manifest)

    def read(self, manifest: Manifest, offset: int, length: int) -> bytes:
        """Bytes of the disk, checked; fewer only at its end. Raises Damaged, Missing."""
        end = min(offset + length, manifest.size_bytes)
        cell_bytes, pieces = self.parameters.cell_bytes, []
        while offset < end:
            number, start = divmod(offset, cell_bytes)
            count = min(cell_bytes - start, end - offset)
            content = self._cell_bytes(manifest, number)
            pieces.append(bytes(count) if content is None else content[start : start + count])
            offset += count
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def restore(
        self,
        manifest: Manifest,
        write: Callable[[int, memoryview], None],
        progress: Optional[saving.Progress] = None,
    ) -> None:
        """Call `write(offset, data)` for all data that is not zeros, each checked before; the rest is zeros.

        Several threads call it at once and in no order; `data` is valid only during the call. `write` raises to end.
        """
        with problems.of_restore_point(manifest.name):
            restoring.restore(self, manifest, write, progress)

    def _cell_bytes(self, manifest: Manifest, number: int) -> Optional[bytes]:
        loaded = self.cells(manifest.name)
        row = loaded.cells.row(number)
        if row < 0:
            return None
        cell_id = loaded.cells.cell_id(row)
        with self._lock:
            if cell_id in self._cells:
                self._cells.move_to_end(cell_id)
                return self._cells[cell_id]
        with problems.of_restore_point(manifest.name):
            content = self._read_cell(manifest.name, loaded, loaded.cells.cell(number, row))
        with self._lock:
            self._cells[cell_id] = content
            while len(self._cells) > _KEPT_CELLS:
                self._cells.popitem(last=False)
        return content

    def _read_cell(self, name: str, loaded: Loaded, cell: Cell) -> bytes:
        with self._lock:
            reader = self._readers.pop() if self._readers else None
        reader = reader or reading.CellReader(self.store, self.vault, self.parameters)
        content = bytes(reader.read(self.recipe(name, loaded, cell)))
        with self._lock:
            if len(self._readers) < 2:
                self._readers.append(reader)
        return content

    def recipe(self, name: str, loaded: Loaded, cell: Cell) -> Recipe:
        """The recipe of a manifest's cell. Raises Damaged, Missing."""
        if cell.pack >= len(loaded.entries):
            raise problems.Damaged(f"{manifest_format.PREFIX}{name}", "it names a pack that it does not have")
        entry = loaded.entries[cell.pack]
        found = self.tables.recipe(entry, cell.recipe)
        if found.cell_id != cell.cell_id:
            raise problems.Damaged(pack.name_of(entry.pack_id), "a recipe is that of another cell")
        if cell.zeros not in (UNKNOWN, found.zeros()):
            raise problems.Damaged(f"{manifest_format.PREFIX}{name}", "its blocks of zeros are not those of a recipe")
        return found

    def cells(self, name: str) -> Loaded:
        """The cells of a restore point. Raises Missing, Damaged."""
        with self._lock:
            if name in self._loaded:
                self._loaded.move_to_end(name)
                return self._loaded[name]
        manifest, loaded = manifests.load(self.store, self.vault, name)
        if loaded.cells.end() > -(-manifest.size_bytes // self.parameters.cell_bytes):
            raise problems.Damaged(f"{manifest_format.PREFIX}{name}", "it has cells behind the end of its disk")
        with self._lock:
            self._loaded[name] = loaded
            while len(self._loaded) > _LOADED:
                self._loaded.popitem(last=False)
        return loaded

    def pack_ids_of(self, name: str) -> set[bytes]:
        """The packs that a restore point names. Raises Missing, Damaged."""
        return manifests.pack_ids(self.store, self.vault, name)


def _check_time(watch: clock.Stopwatch, limit_s: int) -> None:
    """Raises RunTooLong: gc may have deleted what the run refers to."""
    if watch.elapsed_s() > limit_s:
        raise problems.RunTooLong(
            f"the run took longer than the {limit_s} s that the repository allows, "
            "or the clock was set, or the machine slept meanwhile"
        )
