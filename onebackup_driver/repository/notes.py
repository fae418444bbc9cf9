# SPDX-License-Identifier: Apache-2.0
"""Notes in the repository: condemned packs, and what was verified."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, Optional

from onebackup_driver.repository import problems
from onebackup_driver.repository.format import note
from onebackup_driver.repository.repository import Repository
from onebackup_driver.repository.stores import base

UNUSED, DAMAGED = "unused", "damaged"
_PACKS = 50_000


class Condemned(NamedTuple):
    """A note on packs that nothing new may refer to; `modified` by the clock of the store."""

    name: str
    reason: str
    packs: frozenset[bytes]
    modified: float


def condemned(repository: Repository, damaged: Optional[list[problems.Damaged]] = None) -> list[Condemned]:
    """All notes on condemned packs; see `every`. Raises StoreFailed."""
    return [
        Condemned(name, content["reason"], frozenset(bytes.fromhex(text) for text in content["packs"]), modified)
        for name, content, modified in every(repository, note.CONDEMNED, damaged)
    ]


def condemn(repository: Repository, reason: str, packs: Collection[bytes]) -> None:
    """From now on nothing new refers to these packs."""
    ordered = sorted(packs)
    for start in range(0, len(ordered), _PACKS):
        part = [pack_id.hex() for pack_id in ordered[start : start + _PACKS]]
        put(repository, note.CONDEMNED, {"reason": reason, "packs": part})


def replace(repository: Repository, old: Condemned, packs: Collection[bytes]) -> None:
    """Let some packs of a note go: a new one for the rest, then the old one is deleted."""
    condemn(repository, old.reason, packs)
    repository.store.delete(old.name)


def put(repository: Repository, prefix: str, content: dict[str, Any]) -> str:
    """Publish a note; its name."""
    name, stored = note.encode(repository.vault, prefix, secrets.token_bytes(16), content)
    if not repository.store.put(name, stored):
        raise problems.StoreFailed(f"{name} exists already")
    return name


def every(
    repository: Repository, prefix: str, damaged: Optional[list[problems.Damaged]] = None
) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Name, content and time of each note. What is wrong with one is added to `damaged`, or raised without it. Raises
    StoreFailed."""

    def read(name: str) -> Optional[dict[str, Any]]:
        try:
            return base.steadily(lambda: note.decode(repository.vault, name, repository.store.get(name)))
        except problems.Damaged as error:
            if damaged is None:
                raise
            damaged.append(error)
            return None

    for entry, content in base.every(repository.store, prefix, read):
        if content is not None:
            yield entry.name, content, entry.modified
