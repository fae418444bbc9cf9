# SPDX-License-Identifier: Apache-2.0
"""Hashing, sealing and opening: all the cryptography of a repository.

Without a key the hashes are plain BLAKE3 and a sealed section ends in a checksum; with one they are keyed, and
sections and frames are AES-256-GCM. Either way a section is bound to its repository, kind, object and number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from blake3 import blake3

from onebackup_driver.repository import problems
from onebackup_driver.repository.extent import Buffer

if TYPE_CHECKING:  # cryptography is imported where there is a key: a day's backup without one feels the time
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
CELL_ID_BYTES = 32
BLOCK_ID_BYTES = 16
TAG_BYTES = 16
_CONTEXT = "onebackup repository 1 "


class Vault:
    """The hashes and the seals of one repository; `key` (32 bytes) is None when it is not encrypted."""

    def __init__(self, repository_id: bytes, key: Optional[bytes]):
        self.repository_id = repository_id
        self.encrypted = key is not None
        self.key_check = ""
        self._hash_key: Any = None  # blake3 takes None for "no key", which its type hints do not say
        if key is not None:
            if len(key) != KEY_BYTES:
                raise problems.WrongKey(f"a key has {KEY_BYTES} bytes")
            self._hash_key = self._derived(key, "hashes")
            self._seal_key = self._derived(key, "seals")
            self.key_check = self._derived(key, "key check")[:16].hex()

    def _derived(self, key: bytes, purpose: str) -> bytes:
        return blake3(key + self.repository_id, derive_key_context=_CONTEXT + purpose).digest()

    def cell_id(self, data: Buffer) -> bytes:
        """The name of a cell: BLAKE3 of its bytes, keyed when the repository is encrypted."""
        return blake3(data, key=self._hash_key).digest()

    def block_id(self, data: Buffer) -> bytes:
        """The first 16 bytes of the same hash of a block."""
        return blake3(data, key=self._hash_key).digest(BLOCK_ID_BYTES)

    def checksum(self, data: Buffer) -> bytes:
        """A 32 byte checksum; with a key nobody without it can make one."""
        return self.cell_id(data)

    def tag(self, kind: bytes, object_id: bytes, section: int, data: Buffer) -> bytes:
        """16 bytes that bind data to its place: repository, kind and id of the object, number of the section."""
        hasher = blake3(self._place(kind, object_id, section), key=self._hash_key)
        return hasher.update(data).digest(TAG_BYTES)

    def seal(self, kind: bytes, object_id: bytes, section: int, data: bytes) -> bytes:
        """A section as it is stored: encrypted or not, 16 bytes longer."""
        if not self.encrypted:
            return data + self.tag(kind, object_id, section, data)
        cipher = self._cipher(kind, object_id)
        return cipher.encrypt(_nonce(section), data, self._place(kind, object_id, section))

    def open(self, kind: bytes, object_id: bytes, section: int, sealed: bytes, name: str) -> bytes:
        """The data of a sealed section. Raises Damaged, naming `name`."""
        if len(sealed) < TAG_BYTES:
            raise problems.Damaged(name, "it is cut off")
        if not self.encrypted:
            data, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
            if tag != self.tag(kind, object_id, section, data):  # no secret in it
                raise problems.Damaged(name, "a checksum is wrong")
            return data
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher(kind, object_id).decrypt(_nonce(section), sealed, self._place(kind, object_id, section))
        except InvalidTag:
            raise problems.Damaged(name, "it was not written with the key of this repository") from None

    def frame_cipher(self, pack_id: bytes) -> Optional[AESGCM]:
        """What encrypts the frames of a pack: a key of its own for each pack; None without encryption."""
        return self._cipher(b"frames", pack_id) if self.encrypted else None

    def _cipher(self, kind: bytes, object_id: bytes) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(blake3(kind + b"\0" + object_id, key=self._seal_key).digest())

    def _place(self, kind: bytes, object_id: bytes, section: int) -> bytes:
        return self.repository_id + object_id + section.to_bytes(8, "little") + kind


def frame_nonce(offset: int) -> bytes:
    """The nonce of the frame at this offset of its pack; used once, as no two frames of a pack share an offset."""
    return _nonce(offset)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
