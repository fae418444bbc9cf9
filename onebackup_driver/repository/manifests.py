# SPDX-License-Identifier: Apache-2.0
"""Fetching manifests: the head alone, or all of it; each part checked as far as the name, or a key, can prove it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Optional

from onebackup_driver.repository import problems
from onebackup_driver.repository.format import manifest as manifests
from onebackup_driver.repository.format import pack
from onebackup_driver.repository.format.cells import Cells
from onebackup_driver.repository.format.manifest import PREFIX, Manifest, Parts
from onebackup_driver.repository.format.vault import Vault
from onebackup_driver.repository.stores import base

_AT_ONCE = 256


class Loaded(NamedTuple):
    """A manifest's cells and the packs they name."""

    cells: Cells
    entries: list[pack.Entry]


def head(store: base.Store, vault: Vault, name: str) -> Parts:
    """What a manifest says of itself, and where its parts lie: one request. Raises Missing, Damaged, StoreFailed."""
    manifests.check_name(name)
    return base.steadily(lambda: _head(store, vault, name))


def heads(store: base.Store, vault: Vault, names: Sequence[str]) -> Iterator[tuple[str, Optional[Manifest]]]:
    """What many manifests say of themselves, in this order, several fetched at once: a request to S3 waits for its
    answer. None for one that is missing. Raises Damaged, StoreFailed."""

    def one(name: str) -> Optional[Manifest]:
        try:
            return head(store, vault, name).manifest
        except problems.Missing:
            return None

    with ThreadPoolExecutor(store.parallel) as pool:
        for begin in range(0, len(names), _AT_ONCE):
            part = names[begin : begin + _AT_ONCE]
            yield from zip(part, pool.map(one, part))


def _head(store: base.Store, vault: Vault, name: str) -> Parts:
    start = store.get(PREFIX + name, 0, manifests.START_BYTES)
    places = manifests.decode_places(vault, name, start)
    offset, length = places.sections[0]
    sealed = start[offset : offset + length]
    if len(sealed) < length:
        sealed = base.exactly(store, PREFIX + name, offset, length)
    return manifests.decode_head(vault, name, places, sealed)


def load(store: base.Store, vault: Vault, name: str) -> tuple[Manifest, Loaded]:
    """All of a manifest: two requests, as its parts lie one behind the other. Raises Missing, Damaged, StoreFailed."""
    return base.steadily(lambda: _load(store, vault, name))


def _load(store: base.Store, vault: Vault, name: str) -> tuple[Manifest, Loaded]:
    parts = head(store, vault, name)
    places = parts.places.sections[1:]
    begin, end = places[0][0], sum(places[-1])
    stored = base.exactly(store, PREFIX + name, begin, end - begin)
    packs, cells, *zeros = (
        manifests.decode_part(vault, parts, section, stored[offset - begin : offset - begin + length])
        for section, (offset, length) in enumerate(places, 1)
    )
    decoded = manifests.decode_cells(name, cells, zeros[0] if zeros else b"")
    return parts.manifest, Loaded(decoded, manifests.decode_packs(name, packs))


def pack_ids(store: base.Store, vault: Vault, name: str) -> set[bytes]:
    """The ids of the packs that a manifest names. Raises Missing, Damaged, StoreFailed."""
    parts = head(store, vault, name)
    place = parts.places.sections[1]
    packs = base.steadily(lambda: manifests.decode_part(vault, parts, 1, base.exactly(store, PREFIX + name, *place)))
    return set(pack.entry_ids(packs))
