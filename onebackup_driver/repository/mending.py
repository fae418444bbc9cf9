# SPDX-License-Identifier: Apache-2.0
"""Which indexes are damaged or lost: reindexing makes them anew, gc asks whether it must."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from onebackup_driver.repository import problems
from onebackup_driver.repository.format import index, pack
from onebackup_driver.repository.lookup import IndexFile
from onebackup_driver.repository.repository import Repository

_log = logging.getLogger(__name__)


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
        left.difference_update(pack.entry_ids(file.directory.packs))
    return sorted(left)
