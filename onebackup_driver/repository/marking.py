# SPDX-License-Identifier: Apache-2.0
"""Which packs the restore points of a repository need."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, NamedTuple, Optional

from onebackup_driver.repository import problems, reading
from onebackup_driver.repository.format import pack
from onebackup_driver.repository.lookup import IndexFile
from onebackup_driver.repository.repository import Repository

Progress = Callable[[int, int], None]


class Marked(NamedTuple):
    """`packs` by id; `broken`: needed packs that cannot tell which others they need, and why."""

    restore_points: int
    packs: set[bytes]
    broken: dict[bytes, str]


def needed(repository: Repository, indexes: Iterable[IndexFile], progress: Optional[Progress] = None) -> Marked:
    """Read every manifest. `progress(done, of manifests)`. Raises Damaged for one that cannot be read: what it needs is
    not known then.

    They are listed twice, so that nothing depends on a single listing that was not complete."""
    names = set(repository.names())
    packs = of_manifests(repository, names, progress)
    missed = set(repository.names()) - names  # new since then, or left out of the first listing
    packs |= of_manifests(repository, missed)
    indexed, used = _of_indexes(indexes, packs)
    broken = _of_tables(repository, packs - indexed, used)
    return Marked(len(names | missed), packs | used, broken)


def of_manifests(repository: Repository, names: Collection[str], progress: Optional[Progress] = None) -> set[bytes]:
    """The packs that these restore points name; none of those deleted meanwhile. Raises Damaged, StoreFailed."""
    packs: set[bytes] = set()
    missing: list[str] = []
    with ThreadPoolExecutor(repository.store.parallel) as pool:
        found = pool.map(lambda name: (name, _of_manifest(repository, name)), names)
        for done, (name, ids) in enumerate(found, 1):
            if progress is not None:
                progress(done, len(names))
            packs |= ids or set()
            if ids is None:
                missing.append(name)
    repository.confirm_deleted(missing)
    return packs


def _of_manifest(repository: Repository, name: str) -> Optional[set[bytes]]:
    try:
        return repository.pack_ids_of(name)
    except problems.Missing:
        return None


def _of_indexes(indexes: Iterable[IndexFile], packs: set[bytes]) -> tuple[set[bytes], set[bytes]]:
    """Which of the packs are in an index, and which other packs those use."""
    indexed: set[bytes] = set()
    used: set[bytes] = set()
    for file in indexes:
        indexed.update(packs.intersection(pack.entry_ids(file.directory.packs)))
        for user, ids in file.used_packs().items():
            if user in packs:
                used.update(ids)
    return indexed, used


def _of_tables(repository: Repository, packs: set[bytes], used: set[bytes]) -> dict[bytes, str]:
    """For packs that no index knows their own tables tell which packs they use; those that cannot."""
    broken = {}
    for pack_id in packs:
        try:
            entry = reading.entry_of(repository.store, pack_id)
            used.update(repository.tables.table(entry).packs)
        except (problems.Missing, problems.Damaged) as error:
            broken[pack_id] = str(error)
    return broken
