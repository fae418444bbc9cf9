# SPDX-License-Identifier: Apache-2.0
"""The format in which a sandbox guest writes its life onto its disks.

The last 1 MiB of each virtual disk of at least 4 MiB belongs to the guest: tests may fill all the rest.
Used are the last 64 KiB, as 128 slots of 512 bytes:
slot 0 is the clean-shutdown mark (zeros while the guest runs), the record with counter N is in slot
1 + N % 127. Each boot empties the area and starts behind the highest counter found on any disk.
Every slot ends with the SHA-256 of what is before it, so half a record shows; a missing record between
the oldest and the newest shows a copy that was not taken at one moment.
"""
from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Optional

RESERVED_BYTES = 2**20
MINIMUM_DISK_BYTES = 4 * 2**20
AREA_BYTES = 64 * 1024
SLOT_BYTES = 512
RING_SLOTS = AREA_BYTES // SLOT_BYTES - 1

_MAGIC = b"1BGUEST1"
_RECORD, _CLEAN_MARK = 1, 2
_LAYOUT = struct.Struct(">8sBxHHxxQQ16s")  # magic, kind, disk, disks, counter, first counter, boot
_BODY_BYTES = SLOT_BYTES - 32


@dataclass(frozen=True)
class Boot:
    """What stays the same from one start of a guest to its end."""

    identity: bytes
    first: int
    disk_count: int


@dataclass(frozen=True)
class DiskEvidence:
    """What one disk tells. `counter` None: no guest ever wrote here. `intact`: no torn or missing record."""

    counter: Optional[int]
    intact: bool
    clean: bool
    boot: str
    disk_count: int


@dataclass(frozen=True)
class _Slot:
    kind: int
    disk_count: int
    counter: int
    first: int
    boot: bytes


def record(boot: Boot, disk: int, counter: int) -> tuple[int, bytes]:
    """Return the offset in the area and the 512 bytes of one record."""
    return SLOT_BYTES * (1 + counter % RING_SLOTS), _pack(_RECORD, boot, disk, counter)


def clean_mark(boot: Boot, disk: int, counter: int) -> tuple[int, bytes]:
    """Return the offset in the area and the bytes of the mark of a clean shutdown after `counter`."""
    return 0, _pack(_CLEAN_MARK, boot, disk, counter)


def examine(area: bytes) -> DiskEvidence:
    """Judge the guest area of one disk."""
    slots = [area[at : at + SLOT_BYTES] for at in range(0, AREA_BYTES, SLOT_BYTES)]
    if not any(area):
        return DiskEvidence(None, intact=True, clean=False, boot="", disk_count=0)
    parsed = [_unpack(slot) if any(slot) else None for slot in slots]
    broken = any(any(slot) and found is None for slot, found in zip(slots, parsed))
    ring = [slot for slot in parsed[1:] if slot is not None and slot.kind == _RECORD]
    if not ring:
        return DiskEvidence(None, intact=False, clean=False, boot="", disk_count=0)
    last = max(ring, key=lambda slot: slot.counter)
    mark = parsed[0]
    return DiskEvidence(
        counter=last.counter,
        intact=not broken and _complete(parsed, last),
        clean=mark is not None and _same(mark, _CLEAN_MARK, last.counter, last.boot),
        boot=last.boot.hex(),
        disk_count=last.disk_count,
    )


def _complete(parsed: list[Optional[_Slot]], last: _Slot) -> bool:
    oldest = max(last.first, last.counter - RING_SLOTS + 1)
    expected = {1 + counter % RING_SLOTS: counter for counter in range(oldest, last.counter + 1)}
    for number in range(1, RING_SLOTS + 1):
        slot, counter = parsed[number], expected.get(number)
        if counter is None and slot is not None:
            return False
        if counter is not None and not (slot and _same(slot, _RECORD, counter, last.boot)):
            return False
    return True


def _same(slot: _Slot, kind: int, counter: int, boot: bytes) -> bool:
    return (slot.kind, slot.counter, slot.boot) == (kind, counter, boot)


def _pack(kind: int, boot: Boot, disk: int, counter: int) -> bytes:
    body = _LAYOUT.pack(_MAGIC, kind, disk, boot.disk_count, counter, boot.first, boot.identity)
    body = body.ljust(_BODY_BYTES, b".")
    return body + hashlib.sha256(body).digest()


def _unpack(data: bytes) -> Optional[_Slot]:
    body, checksum = data[:_BODY_BYTES], data[_BODY_BYTES:]
    if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != checksum:
        return None
    _, kind, _, disk_count, counter, first, boot = _LAYOUT.unpack_from(body)
    return _Slot(kind, disk_count, counter, first, boot)
