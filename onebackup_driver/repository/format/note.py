# SPDX-License-Identifier: Apache-2.0
"""Notes: what gc and verify found, as objects beside the packs. Small JSON, sealed."""

from __future__ import annotations

import json
import re
from typing import Any

from onebackup_driver import json_text
from onebackup_driver.repository import problems
from onebackup_driver.repository.format import container
from onebackup_driver.repository.format.vault import Vault

#: Packs that no new restore point may refer to: unused ones that gc will delete, and damaged ones.
CONDEMNED = "condemned/"
#: Which packs were found whole, and when.
VERIFIED = "verified/"
_MAGIC = b"OBNOTE01"
_PACK = re.compile(r"[0-9a-f]{32}")


def encode(vault: Vault, prefix: str, object_id: bytes, content: dict[str, Any]) -> tuple[str, bytes]:
    """Name and bytes of a note."""
    sealed = container.seal(_MAGIC + prefix.encode(), vault, object_id, 0, json.dumps(content).encode())
    return f"{prefix}{object_id.hex()}", container.encode(_MAGIC, vault, object_id, [sealed])


def decode(vault: Vault, name: str, stored: bytes) -> dict[str, Any]:
    """Raises Damaged."""
    prefix, _, identity = name.rpartition("/")
    places = container.decode(_MAGIC, vault, stored, (1,), name)
    if places.object_id.hex() != identity:
        raise problems.Damaged(name, "it is another note than its name says")
    kind = _MAGIC + f"{prefix}/".encode()
    plain = container.open_section(kind, vault, places.object_id, 0, stored[places.end :], name)
    try:
        content = json_text.parse(plain)
    except ValueError as error:
        raise problems.Damaged(name, f"it cannot be read: {error}") from None
    if not isinstance(content, dict) or not _is_good(prefix, content):
        raise problems.Damaged(name, "it is no note")
    return content


def _is_good(prefix: str, content: dict[str, Any]) -> bool:
    packs = content.get("packs")
    if not isinstance(packs, list) or not all(isinstance(item, str) and _PACK.fullmatch(item) for item in packs):
        return False
    if f"{prefix}/" == CONDEMNED:
        return isinstance(content.get("reason"), str)
    times = [content.get("began"), content.get("time")]
    return isinstance(content.get("run"), str) and all(type(item) in (int, float) for item in times)
