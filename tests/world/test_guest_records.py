# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from sandbox.world import guest_records
from sandbox.world.guest_records import AREA_BYTES, RING_SLOTS, Boot

BOOT = Boot(b"b" * 16, first=5, disk_count=2)


def area(*parts: tuple[int, bytes]) -> bytearray:
    content = bytearray(AREA_BYTES)
    for at, data in parts:
        content[at : at + len(data)] = data
    return content


def life(first: int, last: int) -> list[tuple[int, bytes]]:
    return [guest_records.record(BOOT, 0, counter) for counter in range(first, last + 1)]


def test_never_used_disk() -> None:
    found = guest_records.examine(bytes(AREA_BYTES))
    assert (found.counter, found.intact, found.clean) == (None, True, False)


def test_first_records_and_a_ring_that_went_round() -> None:
    for last in (5, 6, 5 + RING_SLOTS - 1, 5 + RING_SLOTS, 5 + 3 * RING_SLOTS + 17):
        found = guest_records.examine(bytes(area(*life(5, last))))
        assert (found.counter, found.intact, found.clean) == (last, True, False)


def test_clean_mark_counts_only_for_the_last_record() -> None:
    parts = life(5, 9)
    assert guest_records.examine(bytes(area(*parts, guest_records.clean_mark(BOOT, 0, 9)))).clean
    assert not guest_records.examine(bytes(area(*parts, guest_records.clean_mark(BOOT, 0, 8)))).clean


def test_missing_record_is_seen() -> None:
    parts = life(5, 200)
    at, data = guest_records.record(BOOT, 0, 150)
    content = area(*parts)
    older = guest_records.record(BOOT, 0, 150 - RING_SLOTS)[1]
    content[at : at + len(data)] = older
    assert not guest_records.examine(bytes(content)).intact


def test_half_written_record_is_seen() -> None:
    content = area(*life(5, 20))
    at, data = guest_records.record(BOOT, 0, 20)
    content[at + 256 : at + 512] = bytes(256)
    assert not guest_records.examine(bytes(content)).intact
    content = area(*life(5, 20))
    content[at + 20] ^= 1
    assert not guest_records.examine(bytes(content)).intact


def test_record_of_another_boot_is_seen() -> None:
    other = Boot(b"c" * 16, first=5, disk_count=2)
    content = area(*life(5, 20), guest_records.record(other, 0, 12))
    assert not guest_records.examine(bytes(content)).intact
