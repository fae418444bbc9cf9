# SPDX-License-Identifier: Apache-2.0
"""What the figures of bench.repository rest on: the latency of its proxy, medians and bars, the parts of the CPU."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import repository_bars, repository_limit
from bench.measuring import Cost, Running, Samples, run
from bench.repository_tools import BORG, OURS, RESTIC, SAVED

ROUND_TRIP_MS = 60
COPY_BYTES = 24 * 1024 * 1024


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1 << 20):
            self.request.sendall(data)


@pytest.fixture
def far() -> Iterator[socket.socket]:
    """A connection to an echo server behind the proxy."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = Running(
            [sys.executable, "-m", "bench.delaying_proxy", str(server.server_address[1]), str(ROUND_TRIP_MS)]
        )
        try:
            with socket.create_connection(("127.0.0.1", int(proxy.line())), timeout=30) as connection:
                yield connection
        finally:
            proxy.process.send_signal(signal.SIGTERM)
            proxy.end(-signal.SIGTERM)
            server.shutdown()


def exchange(connection: socket.socket, data: bytes) -> tuple[bytes, float]:
    """What comes back, and after how many seconds the first byte and the last have come."""
    sender, began = threading.Thread(target=connection.sendall, args=(data,)), time.monotonic()
    sender.start()
    found = bytearray()
    while len(found) < len(data):
        found += connection.recv(1 << 20)
    sender.join()
    return bytes(found), time.monotonic() - began


def test_every_exchange_takes_a_round_trip_and_bytes_arrive_in_order(far: socket.socket) -> None:
    exchange(far, b"the connection is there")
    times = [exchange(far, b"x")[1] for _ in range(3)]
    assert min(times) >= ROUND_TRIP_MS / 1000, times
    data = os.urandom(COPY_BYTES)
    found, _ = exchange(far, data)
    assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()


def test_latency_does_not_limit_the_bandwidth(far: socket.socket) -> None:
    """In single file, 24 MiB in pieces of 256 KiB would take 96 round trips."""
    exchange(far, b"the connection is there")
    _, seconds = exchange(far, bytes(COPY_BYTES))
    assert seconds < 48 * ROUND_TRIP_MS / 1000


def test_a_process_is_measured_with_its_children(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nx = bytearray(80 << 20)"
    cost, said = run(["sh", "-c", f"{sys.executable} -c '{burn}'; echo done"], cwd=tmp_path)
    assert said == "done"
    assert 0.3 <= cost.cpu_s < 3 and cost.wall_s >= 0.3
    assert cost.peak_mib > 80  # no less than the largest; a process also counts what the one that started it had


def test_bars_are_judged_by_medians_of_samples_that_are_kept(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples")
    for step in (*SAVED, "restore"):
        for wall in (1.0, 2.0, 9.0):
            samples.add(step, OURS, Cost(wall, wall, 100.0), 80.0)
        samples.add(step, BORG, Cost(4.0, 10.0, 70.0), 100.0)
        samples.add(step, RESTIC, Cost(8.0, 5.0, 70.0), 90.0)
    bars = {bar.name: bar for bar in repository_bars.of(Samples(tmp_path / "samples"))}
    assert bars[f"full backup, CPU / {BORG}"].value == 0.5
    assert bars[f"full backup, CPU / {RESTIC}"].value == 0.25
    assert bars[f"full backup, wall / {RESTIC}"].value == 0.4
    assert not bars[f"full backup, wall / {RESTIC}"].is_missed
    assert bars[f"day 2, wall / {RESTIC}"].is_missed is False
    assert bars[f"day 3, stored / {RESTIC}"].value == pytest.approx(80 / 90)
    assert bars["peak memory, repository, directory, MiB"].value == 100
    samples.forget(("full",))
    assert not any("full" in bar.name for bar in repository_bars.of(Samples(tmp_path / "samples")))


@pytest.mark.parametrize(
    ("kind", "chain"),
    [
        (repository_limit.ZSTD, ["7f ZSTD_compressBlock_fast (/x/zstandard/backend_c.cpython-311.so)"]),
        (repository_limit.HASH, ["7f blake3_hash4 (/x/python3.11/site-packages/blake3/blake3.cpython-311.so)"]),
        (repository_limit.PYTHON, ["7f _PyEval_EvalFrameDefault (/x/lib/libpython3.11.so.1.0)"]),
        (repository_limit.COPIES, ["7f __memmove_avx512 (/usr/lib/x86_64-linux-gnu/libc.so.6)"]),
        (repository_limit.IO, ["ff _copy_to_iter ([kernel.kallsyms])", "ff do_preadv ([kernel.kallsyms])"]),
        (repository_limit.IO, ["ff jbd2_log ([kernel.kallsyms])", "ff __x64_sys_fsync ([kernel.kallsyms])"]),
        (
            repository_limit.FAULTS,
            [
                "ff clear_page_erms ([kernel.kallsyms])",
                "ff asm_exc_page_fault ([kernel.kallsyms])",
                "7f x (/x/libc.so.6)",
            ],
        ),
        (repository_limit.KERNEL, ["ff futex_wait ([kernel.kallsyms])", "ff __x64_sys_futex ([kernel.kallsyms])"]),
    ],
)
def test_a_sample_of_perf_counts_for_what_the_cpu_did(kind: str, chain: list[str]) -> None:
    assert repository_limit._kind(chain) == kind
