# SPDX-License-Identifier: Apache-2.0
"""What looking up cells costs in a repository of 100 TiB: a synthetic index of 25 million cells.

Makes a repository whose indexes are one large and 31 small ones, as gc and writers leave them. Then a process opens
them as a backup does, and looks up cells that are there and cells that are not; another merges all into one, as gc
does; a third looks up in what was made.

    .venv/bin/python -m bench.repository --full --only index
    python -m bench.repository_index make FOLDER CELLS | look-up FOLDER CELLS COUNT | merge FOLDER      one step
"""

from __future__ import annotations

import random
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3

from bench import measuring
from bench.measuring import Cost, Samples
from onebackup_driver.repository import lookup, merging, repository
from onebackup_driver.repository.format import index, pack
from onebackup_driver.repository.stores.directory import DirectoryStore

STEP, MERGE = "index", "merging all"
CELLS_IN_PACK = 32
SMALL_INDEXES, SMALL_CELLS = 31, 2000
LIMIT_MIB, LIMIT_MS = 300, 2.0
_LOOK_UPS = 20_000


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


def look_up(place: str, cells: str, count: str) -> None:
    """As a backup does, but packs count as being there. Prints the mean time and the longest but one in a thousand,
    in seconds."""
    opened = repository.open(DirectoryStore(Path(place)))
    known = lookup.Lookup(opened.store, opened.vault)
    known._is_whole = lambda entry: True  # type: ignore[method-assign]
    source, times = random.Random(1), list[float]()
    for number in range(int(count)):
        there = number % 2 == 0
        wanted = source.randrange(int(cells)) if there else int(cells) + (1 << 40) + number
        name, start = cell_id(wanted), time.monotonic()
        found = known.find(name)
        times.append(time.monotonic() - start)
        assert (found is not None) == there
        assert found is None or found.recipe == wanted % CELLS_IN_PACK
    print(sum(times) / len(times), sorted(times)[-len(times) // 1000 or -1])


def merge(place: str) -> None:
    """All indexes into one."""
    opened = repository.open(DirectoryStore(Path(place)))
    files = lookup.open_indexes(opened.store, opened.vault)
    merging.merge(opened.store, opened.vault, files, frozenset(), 0)
    for file in files:
        opened.store.delete(file.name)


class Index:
    """The part of bench.repository: steps as processes. `wall_s` of a sample of look-ups is that of one."""

    def __init__(self, folder: Path, samples: Samples, cells: int):
        self._place, self._samples, self._cells = folder / "tools" / "index", samples, cells

    def round(self, number: int) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(parents=True)
        self._step("make", self._cells)
        self._look_up(f"{self._cells / 1e6:g} million cells in {SMALL_INDEXES + 1} files")
        cost, _ = self._step("merge")
        self._samples.add(STEP, MERGE, cost, self._stored_mb())
        self._look_up(f"{self._cells / 1e6:g} million cells in one file")

    def close(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)

    def _look_up(self, who: str) -> None:
        cost, said = self._step("look-up", self._cells, _LOOK_UPS)
        mean_s, worst_s = map(float, said.split())
        print(f"  {_LOOK_UPS} look-ups: {1000 * mean_s:.3f} ms each, 99.9 % below {1000 * worst_s:.2f} ms")
        self._samples.add(STEP, who, Cost(cost.cpu_s, mean_s, cost.peak_mib), self._stored_mb())

    def _step(self, name: str, *words: int) -> tuple[Cost, str]:
        argv = [sys.executable, "-m", "bench.repository_index", name, str(self._place), *map(str, words)]
        return measuring.run(argv)

    def _stored_mb(self) -> float:
        return sum(path.stat().st_size for path in (self._place / "index").rglob("*") if path.is_file()) / 1e6


def _make(place: str, cells: str) -> None:
    make(repository.create(DirectoryStore(Path(place))), int(cells))


if __name__ == "__main__":
    steps: dict[str, Callable[..., None]] = {"make": _make, "look-up": look_up, "merge": merge}
    steps[sys.argv[1]](*sys.argv[2:])
