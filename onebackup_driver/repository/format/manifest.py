# SPDX-License-Identifier: Apache-2.0
"""Manifests: one for each restore point. The name of a manifest is made of its time and of its hash."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any, NamedTuple, Optional

from blake3 import blake3

from onebackup_driver import json_text
from onebackup_driver.repository import problems
from onebackup_driver.repository.format import cells as cell_tables
from onebackup_driver.repository.format import container, pack
from onebackup_driver.repository.format.cells import Cells
from onebackup_driver.repository.format.vault import Vault

PREFIX = "manifests/"
_MAGIC = b"OBMANI01"
#: Head, packs, cells, and the blocks of zeros, which manifests of old do not have.
_SECTIONS = (3, 4)
#: The end of the year 9999.
_LAST_SECOND = 253402300800
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}([0-9]{6})?Z-[0-9a-f]{32}")
#: As much of a manifest as is fetched first: its head is nearly always shorter.
START_BYTES = 16 * 1024


class Manifest(NamedTuple):
    """What a restore point is. `size_bytes` of the disk, `data_bytes` of it in cells with data, `new_bytes` not
    known to the repository before and `stored_bytes` in packs for them; `facts` as they were given to save. `micros`:
    of the second `created`, so that names sort as they were made; None in manifests of old."""

    name: str
    created: int
    size_bytes: int
    parent: str
    facts: dict[str, Any]
    data_bytes: int
    new_bytes: int
    stored_bytes: int
    micros: Optional[int] = None


class Parts(NamedTuple):
    """A manifest's head and where the other parts lie; `digests` are theirs."""

    manifest: Manifest
    places: container.Places
    digests: tuple[str, ...]


def check_name(name: str) -> None:
    """Raises Missing for what cannot be the name of a manifest."""
    if not _NAME.fullmatch(name):
        raise problems.Missing(f"{PREFIX}{name}")


def encode(
    vault: Vault, object_id: bytes, manifest: Manifest, cells: Cells, entries: list[pack.Entry]
) -> tuple[str, bytes]:
    """Name and bytes of a manifest; its `name` is not looked at."""
    packs = b"".join(entry.encode() for entry in entries)
    plain = (packs, cells.encode(), bytes(cells.zeros))
    parts = [container.seal(_MAGIC, vault, object_id, number, part) for number, part in enumerate(plain, 1)]
    head = {
        "created": manifest.created,
        "micros": manifest.micros or 0,
        "size_bytes": manifest.size_bytes,
        "parent": manifest.parent,
        "facts": manifest.facts,
        "data_bytes": manifest.data_bytes,
        "new_bytes": manifest.new_bytes,
        "stored_bytes": manifest.stored_bytes,
        "sections": [blake3(part).hexdigest() for part in parts],
    }
    sealed = container.seal(_MAGIC, vault, object_id, 0, json.dumps(head, sort_keys=True).encode())
    stored = container.encode(_MAGIC, vault, object_id, [sealed, *parts])
    return _name(manifest.created, manifest.micros or 0, object_id, sealed), stored


def _name(created: int, micros: Optional[int], object_id: bytes, sealed_head: bytes) -> str:
    stamp = datetime.fromtimestamp(created, timezone.utc).strftime("%Y%m%dT%H%M%S")
    fraction = "" if micros is None else f"{micros:06}"
    return f"{stamp}{fraction}Z-{blake3(object_id + sealed_head).hexdigest()[:32]}"


def decode_places(vault: Vault, name: str, start: bytes) -> container.Places:
    """Where the sections are, from the first bytes. Raises Damaged."""
    return container.decode(_MAGIC, vault, start, _SECTIONS, f"{PREFIX}{name}")


def decode_head(vault: Vault, name: str, places: container.Places, sealed: bytes) -> Parts:
    """Check the head against the manifest's name and read it. Raises Damaged."""
    where = f"{PREFIX}{name}"
    if blake3(places.object_id + sealed).hexdigest()[:32] != name.rpartition("-")[2]:
        raise problems.Damaged(where, "its content is not what its name says")
    plain = container.open_section(_MAGIC, vault, places.object_id, 0, sealed, where)
    try:
        head = json_text.parse(plain)
        digests = tuple(head.pop("sections"))
        manifest = _manifest(name, head)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise problems.Damaged(where, "its head cannot be read") from None
    named = _name(manifest.created, manifest.micros, places.object_id, sealed)
    if len(digests) != len(places.sections) - 1 or named != name:
        raise problems.Damaged(where, "its content is not what its name says")
    return Parts(manifest, places, digests)


def _manifest(name: str, head: dict[str, Any]) -> Manifest:
    """Raises ValueError, KeyError, TypeError, AttributeError."""
    facts, parent = head.pop("facts"), head.pop("parent")
    numbers = {key: json_text.whole(value) for key, value in head.items()}
    good = isinstance(facts, dict) and isinstance(parent, str) and all(number >= 0 for number in numbers.values())
    if not good or not 0 <= numbers["created"] < _LAST_SECOND:
        raise ValueError("a value is wrong")
    return Manifest(name=name, facts=facts, parent=parent, **numbers)


def decode_part(vault: Vault, parts: Parts, section: int, sealed: bytes) -> bytes:
    """Check and open section 1 (packs), 2 (cells) or 3 (their blocks of zeros). Raises Damaged."""
    where = f"{PREFIX}{parts.manifest.name}"
    if blake3(sealed).hexdigest() != parts.digests[section - 1]:
        raise problems.Damaged(where, "a part of it is not what its head says")
    return container.open_section(_MAGIC, vault, parts.places.object_id, section, sealed, where)


def decode_packs(name: str, plain: bytes) -> list[pack.Entry]:
    if len(plain) % pack.ENTRY_BYTES:
        raise problems.Damaged(f"{PREFIX}{name}", "its list of packs is cut off")
    return [pack.decode_entry(plain, offset) for offset in range(0, len(plain), pack.ENTRY_BYTES)]


def decode_cells(name: str, plain: bytes, zeros: bytes) -> Cells:
    """`zeros`: section 3, nothing when there is none. Raises Damaged."""
    return cell_tables.decode(plain, zeros, f"{PREFIX}{name}")
