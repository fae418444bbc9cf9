# SPDX-License-Identifier: Apache-2.0
"""A reader of repositories in a directory, written from docs/repository-format.md alone: nothing of ours is imported.

    python stranger.py DIRECTORY MANIFEST OUTPUT [KEY IN HEX]
"""

from __future__ import annotations

import json
import struct
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, Optional

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Frame(NamedTuple):
    pack: bytes
    offset: int
    stored: int
    raw: int


class Reader:
    def __init__(self, root: Path, key: Optional[bytes]):
        self.root = root
        self.header = json.loads((root / "repository.json").read_text())
        assert self.header["format"] == "onebackup repository" and self.header["version"] == 1
        self.id = bytes.fromhex(self.header["id"])
        self.hash_key: Optional[bytes] = None
        self.seal_key: Any = None
        if self.header["encrypted"]:
            assert key is not None
            self.hash_key, self.seal_key = self.derived(key, "hashes"), self.derived(key, "seals")
            assert self.derived(key, "key check")[:16].hex() == self.header["key_check"]
        rest = {name: value for name, value in self.header.items() if name != "checksum"}
        canonical = json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()
        assert self.hash(canonical).hex() == self.header["checksum"]

    def derived(self, key: bytes, purpose: str) -> bytes:
        return blake3(key + self.id, derive_key_context=f"onebackup repository 1 {purpose}").digest()

    def hash(self, data: bytes) -> bytes:
        return blake3(data, key=self.hash_key).digest() if self.hash_key is not None else blake3(data).digest()

    def cipher(self, kind: bytes, object_id: bytes) -> AESGCM:
        return AESGCM(blake3(kind + b"\0" + object_id, key=self.seal_key).digest())

    def unseal(self, kind: bytes, object_id: bytes, section: int, sealed: bytes) -> bytes:
        place = self.id + object_id + struct.pack("<Q", section) + kind
        if self.seal_key:
            plain = self.cipher(kind, object_id).decrypt(section.to_bytes(12, "big"), sealed, place)
        else:
            plain = sealed[:-16]
            assert self.hash(place + plain)[:16] == sealed[-16:]
        return zstandard.ZstdDecompressor().decompress(plain)

    def manifest(self, name: str) -> tuple[dict[str, Any], bytes, bytes]:
        content = (self.root / "manifests" / name).read_bytes()
        magic, repository, object_id, count = struct.unpack_from("<8s16s16sI", content)
        assert (magic, repository) == (b"OBMANI01", self.id) and count in (3, 4)
        places = [struct.unpack_from("<QQ", content, 44 + 16 * number) for number in range(count)]
        stored = [content[offset : offset + length] for offset, length in places]
        assert blake3(object_id + stored[0]).digest()[:16].hex() == name.split("-")[1]
        head = json.loads(self.unseal(magic, object_id, 0, stored[0]))
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(head["created"]))
        assert name.split("-")[0] == stamp + (f"{head['micros']:06}" if "micros" in head else "") + "Z"
        assert [blake3(part).hexdigest() for part in stored[1:]] == head["sections"]
        return head, self.unseal(magic, object_id, 1, stored[1]), self.unseal(magic, object_id, 2, stored[2])

    def pack(self, pack_id: bytes) -> bytes:
        content = (self.root / "packs" / pack_id.hex()[:2] / pack_id.hex()).read_bytes()
        assert content[:40] == b"OBPACK01" + self.id + pack_id
        return content

    def recipes(self, pack_id: bytes, offset: int, length: int) -> list[tuple[bytes, int, list[Frame], bytes]]:
        table = self.unseal(b"OBPACK01", pack_id, offset, self.pack(pack_id)[offset : offset + length])
        pack_count, count = struct.unpack_from("<II", table)
        packs = [table[8 + 16 * number : 24 + 16 * number] for number in range(pack_count)]
        position, found = 8 + 16 * pack_count, []
        for _ in range(count):
            name, size, frame_count, blocks = struct.unpack_from("<32sIBxH", table, position)
            position += 40
            frames = []
            for _ in range(frame_count):
                number, *rest = struct.unpack_from("<HIII", table, position)
                frames.append(Frame(packs[number], *rest))
                position += 14
            found.append((name, size, frames, table[position : position + 2 * blocks]))
            position += 18 * blocks
        return found

    def frame(self, frame: Frame) -> bytes:
        stored = self.pack(frame.pack)[frame.offset : frame.offset + frame.stored]
        if self.seal_key:
            stored = self.cipher(b"frames", frame.pack).decrypt(frame.offset.to_bytes(12, "big"), stored, None)
        return zstandard.ZstdDecompressor().decompress(stored)

    def cell(self, name: bytes, recipe: tuple[bytes, int, list[Frame], bytes]) -> bytes:
        block, (found, size, frames, places) = self.header["parameters"]["block_bytes"], recipe
        assert found == name
        raw, cell = [self.frame(frame) for frame in frames], bytearray()
        for number, place in zip(places[::2], places[1::2]):
            length = min(block, size - len(cell))
            cell += bytes(length) if number == 255 else raw[number][place * block : place * block + length]
        assert len(cell) == size and self.hash(bytes(cell)) == name
        return bytes(cell)

    def restore(self, name: str, output: Path) -> None:
        head, packs, cells = self.manifest(name)
        entries = [struct.unpack_from("<16sQQI", packs, offset) for offset in range(0, len(packs), 36)]
        tables = [self.recipes(pack_id, offset, length) for pack_id, _, offset, length in entries]
        runs, count = struct.unpack_from("<II", cells)
        columns = struct.unpack_from(f"<{2 * runs + 2 * count}I", cells, 8)
        starts, rows, where = columns[:runs], [*columns[runs : 2 * runs], count], columns[2 * runs :]
        names = cells[8 + 4 * len(columns) :]
        with open(output, "wb") as disk:
            disk.truncate(head["size_bytes"])
            for run in range(runs):
                for row in range(rows[run], rows[run + 1]):
                    disk.seek((starts[run] + row - rows[run]) * self.header["parameters"]["cell_bytes"])
                    recipe = tables[where[row]][where[count + row]]
                    disk.write(self.cell(names[32 * row : 32 * row + 32], recipe))


if __name__ == "__main__":
    Reader(Path(sys.argv[1]), bytes.fromhex(sys.argv[4]) if len(sys.argv) > 4 else None).restore(
        sys.argv[2], Path(sys.argv[3])
    )
