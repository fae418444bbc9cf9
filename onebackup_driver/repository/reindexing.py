# SPDX-License-Identifier: Apache-2.0
"""Indexes made again from the packs: each pack has the recipes of its cells in itself.

Nobody has to stop meanwhile. A pack without an index is one of a run that is under way, of a run that died, or of a
lost index; for all three an index is right. Condemned packs are left out, and those that use frames of packs that are
gone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, Optional

from onebackup_driver.repository import lookup, problems, reading
from onebackup_driver.repository.format import index, pack
from onebackup_driver.repository.lookup import IndexFile
from onebackup_driver.repository.repository import Repository

Progress = Callable[[int, int], None]
#: So many cells are in one of the new indexes, at most about that: gc merges them.
_CELLS = 250_000
_BATCH = 256


class _Pack(NamedTuple):
    entry: pack.Entry
    cell_ids: list[bytes]
    others: list[bytes]


@dataclass
class Report:
    """What was found and made. `removed`: damaged indexes; `unreadable`: packs that cannot be indexed, and why."""

    dry_run: bool
    sound: int = 0
    removed: list[str] = field(default_factory=list)
    packs: int = 0
    cells: int = 0
    made: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report in words."""
        would = "would be " if self.dry_run else ""
        said = [f"{self.sound} indexes are whole"]
        said += [f"{would}removed, it is damaged: {name}" for name in self.removed]
        if self.packs:
            cells = "" if self.dry_run else f", {self.cells} cells in {self.made} new indexes"
            said.append(f"{would}indexed: {self.packs} packs that were in no index{cells}")
        else:
            said.append("every pack is in an index")
        return said + [f"left out: {reason}" for reason in self.unreadable.values()]


def reindex(repository: Repository, dry_run: bool = False, progress: Optional[Progress] = None) -> Report:
    """Index all packs that no whole index knows; damaged indexes go when that is done. `progress(done, of packs)`.
    Raises StoreFailed, Damaged (a note that cannot be read)."""
    report = Report(dry_run)
    avoided = lookup.condemned_packs(repository.store, repository.vault)
    there = {pack.id_of(entry.name) for entry in list(repository.store.list(pack.PREFIX))}
    known = _known(repository, report)
    wanted = sorted(there - known - avoided)
    report.packs = len(wanted)
    if dry_run:
        return report
    found = _read(repository, wanted, there, report, progress)
    for part in _parts(found):
        _publish(repository, part, report)
    report.packs -= len(report.unreadable)
    for name in report.removed:
        repository.store.delete(name)
    return report


def _known(repository: Repository, report: Report) -> set[bytes]:
    """The packs in indexes that can be read to the end."""
    store = repository.store
    names = [entry.name for entry in store.list(index.PREFIX)]
    known: dict[str, Optional[set[bytes]]] = {name: _packs_of(repository, name) for name in names}
    suspects = [name for name, packs in known.items() if packs is None]
    if suspects:  # it may be only the local copy that is damaged
        store.keep_copies([name for name in names if name not in suspects], repository.vault.repository_id)
        known.update((name, _packs_of(repository, name)) for name in suspects)
    report.removed = [name for name, packs in known.items() if packs is None]
    report.sound = len(known) - len(report.removed)
    return set().union(*filter(None, known.values()))


def _packs_of(repository: Repository, name: str) -> Optional[set[bytes]]:
    """The packs in an index; none when it has been merged into another one. Nothing (None) when it is damaged."""
    try:
        file = IndexFile(repository.store, repository.vault, name)
    except problems.Missing:
        return set()
    except problems.Damaged:
        return None
    try:
        file.used_packs()
        for bucket in range(file.directory.bucket_count()):
            file.bucket(bucket)
    except problems.Damaged:
        return None
    finally:
        file.close()
    return set(pack.entry_ids(file.directory.packs))


def _read(
    repository: Repository, wanted: list[bytes], there: set[bytes], report: Report, progress: Optional[Progress]
) -> Iterator[_Pack]:
    def one(pack_id: bytes) -> Optional[_Pack]:
        try:
            return _opened(repository, pack_id, there)
        except problems.Missing:
            return None  # deleted since
        except problems.Damaged as error:
            report.unreadable[pack.name_of(pack_id)] = str(error)
            return None

    with ThreadPoolExecutor(repository.store.parallel) as pool:
        for begin in range(0, len(wanted), _BATCH):
            yield from filter(None, pool.map(one, wanted[begin : begin + _BATCH]))
            if progress is not None:
                progress(min(begin + _BATCH, len(wanted)), len(wanted))


def _opened(repository: Repository, pack_id: bytes, there: set[bytes]) -> _Pack:
    entry = reading.entry_of(repository.store, pack_id)
    table = repository.tables.table(entry)
    others = table.packs[1:]
    if not there.issuperset(others):
        raise problems.Damaged(table.name, "its recipes use a pack that is gone")
    return _Pack(entry, [table.recipe(number).cell_id for number in range(len(table.offsets))], others)


def _parts(found: Iterable[_Pack]) -> Iterator[list[_Pack]]:
    part, cells = list[_Pack](), 0
    for item in found:
        part.append(item)
        cells += len(item.cell_ids)
        if cells >= _CELLS:
            yield part
            part, cells = [], 0
    if part:
        yield part


def _publish(repository: Repository, part: list[_Pack], report: Report) -> None:
    records = [
        index.record(cell_id, number, recipe)
        for number, item in enumerate(part)
        for recipe, cell_id in enumerate(item.cell_ids)
    ]
    name, content = index.build(
        repository.vault,
        secrets.token_bytes(16),
        records,
        b"".join(item.entry.encode() for item in part),
        {item.entry.pack_id: item.others for item in part if item.others},
        sum(item.entry.size_bytes for item in part),
    )
    if not repository.store.put(name, content):
        raise problems.StoreFailed(f"{name} exists already")
    report.cells += len(records)
    report.made += 1
