# SPDX-License-Identifier: Apache-2.0
"""The header of a repository: what it is, its parameters, and a check of its key."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Optional

from onebackup_driver import json_text
from onebackup_driver.repository import problems
from onebackup_driver.repository.format import vault as vaults

NAME = "repository.json"
_FORMAT = "onebackup repository"
_VERSION = 1
_DAY_S = 24 * 3600


class Parameters(NamedTuple):
    """What a repository is made with; none of it changes later.

    `longest_run_s`: a save that took longer is refused. `grace_s`: what gc found to be without use is deleted
    when it still is so after this time; longer than the longest run.
    """

    cell_bytes: int = 4 * 1024 * 1024
    block_bytes: int = 64 * 1024
    pack_bytes: int = 64 * 1024 * 1024
    frames_per_cell: int = 8
    compression_level: int = 1
    longest_run_s: int = _DAY_S
    grace_s: int = _DAY_S + _DAY_S // 2

    def problem(self) -> str:
        """What is wrong with these parameters; empty when nothing is."""
        if self.block_bytes < 512 or self.block_bytes % 512 or self.cell_bytes % self.block_bytes:
            return "a cell must be a multiple of a block, a block of 512 bytes"
        if self.cell_bytes // self.block_bytes > 256 or self.cell_bytes > 64 * 1024 * 1024:
            return "a cell has at most 256 blocks and 64 MiB"
        if not self.cell_bytes <= self.pack_bytes <= 1024 * 1024 * 1024:
            return "a pack holds at least one cell and at most 1 GiB"
        if not 1 <= self.frames_per_cell <= 250 or not 1 <= self.compression_level <= 19:
            return "1 to 250 frames a cell, compression levels 1 to 19"
        if not self.grace_s > self.longest_run_s > 0:
            return "the grace period (36 hours unless it is given) must be longer than the longest run (24)"
        return ""


class Header(NamedTuple):
    repository_id: bytes
    created: int
    parameters: Parameters
    encrypted: bool


def encode(header: Header, vault: vaults.Vault) -> bytes:
    """The header object's bytes: JSON with a checksum (keyed when the repository is encrypted) over the rest."""
    content: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "id": header.repository_id.hex(),
        "created": header.created,
        "encrypted": header.encrypted,
        "key_check": vault.key_check,
        "parameters": header.parameters._asdict(),
    }
    content["checksum"] = vault.checksum(_canonical(content)).hex()
    return (json.dumps(content, indent=1) + "\n").encode()


def decode(stored: bytes, key: Optional[bytes]) -> tuple[Header, vaults.Vault]:
    """Read and check the header. Raises NotARepository, WrongKey or Damaged."""
    content = _parse(stored)
    header = _header(content)
    vault = vaults.Vault(header.repository_id, _checked_key(content, header, key))
    claimed = content.pop("checksum", None)
    if claimed != vault.checksum(_canonical(content)).hex():
        raise problems.Damaged(NAME, "its checksum is wrong")
    if header.parameters.problem():
        raise problems.Damaged(NAME, header.parameters.problem())
    return header, vault


def _checked_key(content: dict[str, Any], header: Header, key: Optional[bytes]) -> Optional[bytes]:
    if not header.encrypted:
        if key is not None:
            raise problems.WrongKey("this repository is not encrypted, but a key was given")
        return None
    if key is None:
        raise problems.WrongKey("this repository is encrypted: it needs its key (KEY_FILE in the template, --key-file)")
    if vaults.Vault(header.repository_id, key).key_check != content.get("key_check"):
        raise problems.WrongKey("this is not the key of this repository")
    return key


def _parse(stored: bytes) -> dict[str, Any]:
    try:
        content = json_text.parse(stored)
    except ValueError:
        raise problems.Damaged(NAME, "it is not JSON") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise problems.NotARepository(f"{NAME} is not the header of a repository of onebackup")
    if content.get("version") != _VERSION:
        raise problems.NotARepository(f"the repository has version {content.get('version')}, not {_VERSION}")
    return content


def _header(content: dict[str, Any]) -> Header:
    try:
        values = {name: json_text.whole(content["parameters"][name]) for name in Parameters._fields}
        identity = bytes.fromhex(content["id"])
        if len(identity) != 16 or not isinstance(content["encrypted"], bool):
            raise ValueError("id")
        return Header(identity, json_text.whole(content["created"]), Parameters(**values), content["encrypted"])
    except (KeyError, TypeError, ValueError):
        raise problems.Damaged(NAME, "a value is missing or wrong") from None


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
