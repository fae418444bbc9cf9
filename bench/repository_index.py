# SPDX-License-Identifier: Apache-2.0
"""What looking up cells costs in a repository of 100 TiB: a synthetic index of 25 million cells.

    .venv/bin/python -m bench.repository_index [--cells 25000000] [--look-ups 20000] [--folder DIRECTORY]

Makes a repository whose indexes are one large and 31 small ones, as gc and writers leave them, then starts a process
that opens them as a backup does, looks up cells that are there and cells that are not, and prints its peak memory and
the time of each look-up. Then merges all into one (what gc does) and prints the same for that process. Ends with 1
when a process needs more than 300 MiB or a look-up takes more than 2 ms.
"""

from __future__ import annotations

import argparse
import random
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3

from onebackup_driver.repository import lookup, merging, repository
from onebackup_driver.repository.format import index, pack
from onebackup_driver.repository.stores.directory import DirectoryStore

ROOT = Path(__file__).resolve().parent.parent
CELLS_IN_PACK = 32
SMALL_INDEXES, SMALL_CELLS = 31, 2000
LIMIT_MIB, LIMIT_MS = 300, 2.0


def cell_id(number: int) -> bytes:
    """Any cell's name can be had again from its number."""
    return blake3(number.to_bytes(8, "little")).digest()


def make(opened: repository.Repository, cells: int) -> None:
    """One index of `cells` cells, and small ones."""
    _large(opened, cells)
    for small in range(SMALL_INDEXES):
        first = cells + small * SMALL_CELLS
        records = [
            index.record(cell_id(first + number), number // CELLS_IN_PACK, number % CELLS_IN_PACK)
            for number in range(SMALL_CELLS)
        ]
        entries = b"".join(_entries(SMALL_CELLS))
        name, content = index.build(opened.vault, secrets.token_bytes(16), records, entries, {}, SMALL_CELLS << 20)
        opened.store.put(name, content)


def _large(opened: repository.Repository, cells: int) -> None:
    """Cells are spread over files by the first byte of their name, so that this needs little memory as well."""
    bits = index.bits_for(cells)
    builder = index.Builder(opened.vault, secrets.token_bytes(16), bits)
    with tempfile.TemporaryDirectory(dir=opened.store.place.removeprefix("dir:")) as folder:
        parts = [open(Path(folder, f"{part:02x}"), "w+b", 1 << 16) for part in range(256)]  # noqa: SIM115
        for number in range(cells):
            made = index.record(cell_id(number), number // CELLS_IN_PACK, number % CELLS_IN_PACK)
            parts[made[0]].write(made)
        for buckets in _buckets(parts, bits):
            for bucket in buckets:
                builder.add(bucket)
        name, head = builder.finish(b"".join(_entries(cells)), {}, cells << 21)
        writer = opened.store.create(name)
        writer.write(head)
        for buckets in _buckets(parts, bits):
            writer.write(b"".join(buckets))
        writer.publish()
        for part in parts:
            part.close()


def _buckets(parts: list, bits: int) -> Iterator[list[bytes]]:  # type: ignore[type-arg]
    for number, part in enumerate(parts):
        part.seek(0)
        content = part.read()
        ordered = sorted(content[at : at + index.RECORD_BYTES] for at in range(0, len(content), index.RECORD_BYTES))
        low = number << (bits - 8)
        yield list(_split(ordered, bits, low, low + (1 << (bits - 8))))


def _split(ordered: list[bytes], bits: int, begin: int, end: int) -> Iterator[bytes]:
    position = 0
    for bucket in range(begin, end):
        first = position
        while position < len(ordered) and int.from_bytes(ordered[position][:4], "big") >> (32 - bits) == bucket:
            position += 1
        yield b"".join(ordered[first:position])


def _entries(cells: int) -> Iterator[bytes]:
    for number in range(-(-cells // CELLS_IN_PACK)):
        yield pack.Entry(number.to_bytes(16, "big"), 64 << 20, 63 << 20, 40_000).encode()


def look_up(place: str, cells: int, count: int) -> None:
    """As a backup does, but packs count as being there."""
    opened = repository.open(DirectoryStore(Path(place)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.monotonic()
    known = lookup.Lookup(opened.store, opened.vault)
    known._is_whole = lambda entry: True  # type: ignore[method-assign]
    opened_s, source = time.monotonic() - began, random.Random(1)
    times: list[float] = []
    for number in range(count):
        there = number % 2 == 0
        wanted = source.randrange(cells) if there else cells + (1 << 40) + number
        name, start = cell_id(wanted), time.monotonic()
        found = known.find(name)
        times.append(time.monotonic() - start)
        assert (found is not None) == there
        assert found is None or found.recipe == wanted % CELLS_IN_PACK
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    mean_ms, worst_ms = 1000 * sum(times) / len(times), 1000 * sorted(times)[-len(times) // 1000 or -1]
    print(
        f"{len(known.indexes)} indexes opened in {opened_s:.2f} s; "
        f"a look-up {mean_ms:.3f} ms (99.9 %: {worst_ms:.2f} ms); "
        f"peak {peak:.0f} MiB ({before:.0f} MiB before)"
    )
    sys.exit(peak > LIMIT_MIB or mean_ms > LIMIT_MS)


def merge(place: str) -> None:
    opened = repository.open(DirectoryStore(Path(place)))
    files = lookup.open_indexes(opened.store, opened.vault)
    began = time.monotonic()
    merging.merge(opened.store, opened.vault, files, frozenset(), 0)
    for file in files:
        opened.store.delete(file.name)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"merged {len(files)} indexes in {time.monotonic() - began:.1f} s, peak {peak:.0f} MiB")
    sys.exit(peak > LIMIT_MIB)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=25_000_000)
    parser.add_argument("--look-ups", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/onebackup-bench-index"))
    parser.add_argument("--step", nargs="*", default=[], help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.step:
        steps: dict[str, Callable[..., None]] = {"look-up": look_up, "merge": merge, "make": _make}
        steps[words.step[0]](words.step[1], *map(int, words.step[2:]))
        return 0
    shutil.rmtree(words.folder, ignore_errors=True)
    codes = []
    for step in (["make", "cells"], ["look-up", "cells", "count"], ["merge"], ["look-up", "cells", "count"]):
        numbers = [{"cells": str(words.cells), "count": str(words.look_ups)}[name] for name in step[1:]]
        argv = [sys.executable, "-m", "bench.repository_index", "--step", step[0], str(words.folder), *numbers]
        codes.append(subprocess.run(argv, cwd=ROOT).returncode)
    shutil.rmtree(words.folder)
    return max(codes)


def _make(place: str, cells: int) -> None:
    opened = repository.create(DirectoryStore(Path(place)))
    make(opened, cells)
    size = sum(entry.size_bytes for entry in opened.store.list("index/"))
    print(f"{cells} cells: indexes of {size / 1e6:.0f} MB; usage() by one listing: {opened.usage().used_mb} MiB")


if __name__ == "__main__":
    sys.exit(main())
