# SPDX-License-Identifier: Apache-2.0
"""The layout of a qcow2 file, judged by qemu-img."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onebackup_driver.gateway.layout import Raw
from onebackup_driver.gateway.qcow2 import CLUSTER_BYTES, Qcow2

MIB = 1024 * 1024
TABLE_BYTES = 512 * MIB


def disk_bytes(offset: int, length: int) -> bytes:
    """What is on the test disk: never zeros, another content at each place."""
    pattern = [b"%015x\n" % (number * 16) for number in range(offset // 16, (offset + length) // 16 + 1)]
    return b"".join(pattern)[offset % 16 :][:length]


def file_bytes(layout: Qcow2, begin: int, end: int) -> bytes:
    pieces = []
    for piece in layout.pieces(begin, end):
        content = disk_bytes(piece.disk_offset, piece.length) if piece.literal is None else piece.literal
        assert len(content) == piece.length > 0
        pieces.append(content)
    return b"".join(pieces)


def write(layout: Qcow2, path: Path) -> None:
    with open(path, "wb") as stream:
        for piece in layout.pieces(0, layout.size_bytes):
            stream.write(disk_bytes(piece.disk_offset, piece.length) if piece.literal is None else piece.literal)
    assert path.stat().st_size == layout.size_bytes


def qemu_img(*words: str) -> str:
    return subprocess.run(["qemu-img", *words], check=True, capture_output=True, text=True, timeout=60).stdout


def data_runs(path: Path) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for item in json.loads(qemu_img("map", "--output=json", "-f", "qcow2", str(path))):
        if item["data"]:
            if runs and sum(runs[-1]) == item["start"]:
                runs[-1] = (runs[-1][0], runs[-1][1] + item["length"])
            else:
                runs.append((item["start"], item["length"]))
    return runs


def check(size: int, runs: list[tuple[int, int]], folder: Path) -> None:
    layout, path = Qcow2(size, runs), folder / "disk.qcow2"
    write(layout, path)
    qemu_img("check", "-f", "qcow2", str(path))  # a leak or an error is an exit code
    rounded = -(-size // 512) * 512
    found = json.loads(qemu_img("info", "--output=json", "-f", "qcow2", str(path)))
    assert (found["virtual-size"], found["cluster-size"]) == (rounded, CLUSTER_BYTES)
    touched = (range(offset // CLUSTER_BYTES, -(-(offset + length) // CLUSTER_BYTES)) for offset, length in runs)
    clusters = sorted({cluster for part in touched for cluster in part})
    wanted: list[tuple[int, int]] = []
    for cluster in clusters:
        begin, end = cluster * CLUSTER_BYTES, min((cluster + 1) * CLUSTER_BYTES, rounded)
        if wanted and sum(wanted[-1]) == begin:
            wanted[-1] = (wanted[-1][0], end - wanted[-1][0])
        else:
            wanted.append((begin, end - begin))
    assert data_runs(path) == wanted
    compare_content(path, size, clusters, folder)


def compare_content(path: Path, size: int, clusters: list[int], folder: Path) -> None:
    raw = folder / "disk.raw"
    qemu_img("convert", "-f", "qcow2", "-O", "raw", str(path), str(raw))
    with open(raw, "rb") as stream:
        for cluster in clusters:
            stream.seek(cluster * CLUSTER_BYTES)
            length = min(CLUSTER_BYTES, size - cluster * CLUSTER_BYTES)
            assert stream.read(length) == disk_bytes(cluster * CLUSTER_BYTES, length)


@pytest.mark.parametrize(
    ("size", "runs"),
    [
        (0, []),
        (512, []),
        (512, [(0, 512)]),
        (MIB, [(0, MIB)]),
        (MIB + 513, [(MIB, 513)]),
        (MIB + 512, [(65536, 4096), (70000, 10), (MIB, 512)]),
        (5 * TABLE_BYTES, [(0, 1), (TABLE_BYTES - 1, 2), (3 * TABLE_BYTES, 200_000), (5 * TABLE_BYTES - 1, 1)]),
        (9 << 40, [(0, 65536), (4 << 40, 65536), ((9 << 40) - 65536, 65536)]),  # the L1 table has three clusters
    ],
)
def test_qemu_reads_it(size: int, runs: list[tuple[int, int]], tmp_path: Path) -> None:
    if size > TABLE_BYTES:
        layout, path = Qcow2(size, runs), tmp_path / "disk.qcow2"
        write(layout, path)
        qemu_img("check", "-f", "qcow2", str(path))
        assert sum(length for _, length in data_runs(path)) == layout._data_clusters * CLUSTER_BYTES
    else:
        check(size, runs, tmp_path)


def test_a_file_with_several_refcount_blocks() -> None:
    """Too large to write: 5 TiB of data. Its own tables say where everything is."""
    layout = Qcow2(5 << 40, [(0, 5 << 40)])
    header = file_bytes(layout, 0, 104)
    assert int.from_bytes(header[24:32], "big") == 5 << 40
    table_offset, table_clusters = int.from_bytes(header[48:56], "big"), int.from_bytes(header[56:60], "big")
    total = layout.size_bytes // CLUSTER_BYTES
    blocks = -(-total // 32768)
    assert table_offset == CLUSTER_BYTES and table_clusters == -(-blocks * 8 // CLUSTER_BYTES)
    table = file_bytes(layout, table_offset, table_offset + table_clusters * CLUSTER_BYTES)
    entries = [int.from_bytes(table[place : place + 8], "big") for place in range(0, len(table), 8)]
    wanted = [(1 + table_clusters + block) * CLUSTER_BYTES for block in range(blocks)]
    assert [entry for entry in entries if entry] == wanted
    last = file_bytes(layout, entries[blocks - 1], entries[blocks - 1] + CLUSTER_BYTES)
    assert last.count(b"\0\1") == total - (blocks - 1) * 32768
    l1_offset = int.from_bytes(header[40:48], "big")
    l1 = file_bytes(layout, l1_offset, l1_offset + 8 * 10240)
    tables = [int.from_bytes(l1[place : place + 8], "big") & ~(1 << 63) for place in range(0, len(l1), 8)]
    l2 = file_bytes(layout, tables[10239], tables[10239] + CLUSTER_BYTES)
    host = int.from_bytes(l2[-8:], "big") & ~(1 << 63)
    assert host == layout.size_bytes - CLUSTER_BYTES
    assert file_bytes(layout, host, host + 32) == disk_bytes((5 << 40) - CLUSTER_BYTES, 32)


@st.composite
def disks(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    size = draw(st.integers(1, 40 * CLUSTER_BYTES))
    points = sorted(draw(st.sets(st.integers(0, size), max_size=16)))
    return size, [(begin, end - begin) for begin, end in zip(points[::2], points[1::2])]


@settings(max_examples=25, deadline=None)
@given(disks())
def test_any_disk(disk: tuple[int, list[tuple[int, int]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(*disk, Path(folder))


@settings(max_examples=60, deadline=None)
@given(disks(), st.randoms(use_true_random=False))
def test_any_part_of_the_file(disk: tuple[int, list[tuple[int, int]]], chance: random.Random) -> None:
    layout = Qcow2(*disk)
    whole = file_bytes(layout, 0, layout.size_bytes)
    assert len(whole) == layout.size_bytes
    for _ in range(20):
        begin = chance.randrange(layout.size_bytes)
        end = chance.randrange(begin, layout.size_bytes) + 1
        assert file_bytes(layout, begin, end) == whole[begin:end]
    assert file_bytes(Qcow2(*disk), 0, layout.size_bytes) == whole


def test_many_runs_need_little_memory() -> None:
    """A disk of 1 TiB with data in every other cluster."""
    layout = Qcow2(1 << 40, ((number * 131072, 65536) for number in range(1 << 20)))
    held = sum(numbers.itemsize * len(numbers) for numbers in (layout._firsts, layout._ranks, layout._tables))
    assert held < 9 << 20
    assert list(layout.pieces(layout.size_bytes - 100, layout.size_bytes)) == [
        (100, ((1 << 20) - 1) * 131072 + 65536 - 100, None)
    ]


def test_raw_is_the_disk() -> None:
    assert list(Raw(1000).pieces(10, 20)) == [(10, 10, None)] and list(Raw(0).pieces(0, 0)) == []
