# SPDX-License-Identifier: Apache-2.0
"""The gateway as a process, with clients that behave and clients that do not."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Optional

import pytest
import requests

from tests.market.driving import Front

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("gateway")
    made = Front(folder / "one", {"REPOSITORY": f"dir:{folder / 'repository'}"})
    made.configure(gateway={"stall_s": 2, "connections": 52})
    assert made.onebackup("repository", "create", made.market["REPOSITORY"]).code == 0
    made.start_gateway()
    yield made
    if made.process is not None:
        made.stop_gateway()


class Disk:
    """A raw image in the repository and where it is served, as qcow2 and as raw."""

    def __init__(self, front: Front, folder: Path) -> None:
        image = folder / "image"
        self.content = random.Random(1).randbytes(5 * MIB) + bytes(9 * MIB) + random.Random(2).randbytes(11 * MIB)
        image.write_bytes(self.content)
        self.values = front.import_(image, "raw").values
        self.raw = front.served(self.values["SOURCE"])
        self.qcow2 = self.raw.replace("disk.raw", "disk.qcow2")
        self.name = self.raw.split("/")[-2]


@pytest.fixture(scope="module")
def disk(front: Front, tmp_path_factory: pytest.TempPathFactory) -> Disk:
    return Disk(front, tmp_path_factory.mktemp("disk"))


def test_the_same_bytes_each_time_and_after_a_restart(front: Front, disk: Disk) -> None:
    first = requests.get(disk.qcow2, timeout=60).content
    assert len(first) < 20 * MIB and requests.get(disk.qcow2, timeout=60).content == first
    front.stop_gateway()
    front.start_gateway()
    assert requests.get(disk.qcow2, timeout=60).content == first
    assert requests.get(disk.raw, timeout=60).content == disk.content


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_head_and_ranges(disk: Disk, kind: str) -> None:
    url = disk.raw if kind == "raw" else disk.qcow2
    whole = requests.get(url, timeout=60).content
    head = requests.head(url, timeout=60)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(whole)), b"")
    assert head.headers["Accept-Ranges"] == "bytes"
    chance, size = random.Random(kind), len(whole)
    parts = [(0, 0), (0, size - 1), (size - 1, size - 1), (size - 5, size + 100)]
    parts += [tuple(sorted(chance.choices(range(size), k=2))) for _ in range(8)]  # type: ignore[misc]
    for first, last in parts:
        got = requests.get(url, headers={"Range": f"bytes={first}-{last}"}, timeout=60)
        assert got.status_code == 206 and got.content == whole[first : last + 1]
        assert got.headers["Content-Range"] == f"bytes {first}-{min(last, size - 1)}/{size}"
    assert requests.get(url, headers={"Range": "bytes=-7"}, timeout=60).content == whole[-7:]
    assert requests.get(url, headers={"Range": f"bytes={size - 3}-"}, timeout=60).content == whole[-3:]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": f"bytes={10**12}-"}, 416),
        ({"Range": "bytes=0-1,5-6"}, 200),
        ({"Range": "lines=1-2"}, 200),
        ({"Range": "bytes=5-2"}, 200),
        ({"Range": "bytes=0-1", "If-Range": '"another"'}, 200),
    ],
)
def test_odd_ranges(disk: Disk, headers: dict[str, str], status: int) -> None:
    assert requests.get(disk.raw, headers=headers, timeout=60, stream=True).status_code == status


def test_what_is_not_there(front: Front, disk: Disk) -> None:
    assert requests.get(front.url + "/", timeout=10).text == "onebackup gateway\n"
    for path in (
        "/x", "/../etc/passwd", disk.raw.replace(disk.name, "20260101T000000Z-" + "0" * 32), disk.raw + "x",
        disk.raw.replace("disk.raw", "disk.vmdk"),
    ):  # fmt: skip
        url = path if path.startswith("http") else front.url + path
        assert requests.get(url, timeout=10).status_code == 404, url
    # another repository: there is no front-end here that could be asked whether it has a marketplace
    unknown = requests.get(disk.raw.replace(disk.raw.split("/")[3], "0" * 32), timeout=30)
    assert unknown.status_code == 503 and unknown.headers["Retry-After"] == "5"
    for method in ("PUT", "POST", "DELETE"):
        assert requests.request(method, disk.raw, timeout=10).status_code == 405


def connect(front: Front, url: str, room_bytes: int = 4096) -> socket.socket:
    """A client that has asked for a file and reads nothing."""
    host, port = front.url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room_bytes)
    client.connect((host, int(port)))
    client.sendall(f"GET {url.removeprefix(front.url)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client


def memory_mb(front: Front, name: str = "VmRSS") -> int:
    assert front.process is not None
    text = Path(f"/proc/{front.process.pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in text.splitlines() if line.startswith(name))


def test_fifty_downloads_beside_stalled_and_aborted_ones(front: Front, disk: Disk) -> None:
    stalled = [connect(front, disk.qcow2) for _ in range(6)]
    for _ in range(20):
        client = connect(front, disk.raw)
        client.recv(100)
        client.close()

    def fetch(_: int) -> str:
        digest = hashlib.md5()
        while True:
            with requests.get(disk.raw, timeout=120, stream=True) as answer:
                if answer.status_code == 503:  # more than `connections` at once
                    assert answer.headers["Retry-After"] == "5"
                    time.sleep(0.2)
                    continue
                for piece in answer.iter_content(MIB):
                    digest.update(piece)
                return digest.hexdigest()

    with ThreadPoolExecutor(50) as pool:
        found = set(pool.map(fetch, range(50)))
    assert found == {disk.values["MD5"]}
    assert memory_mb(front, "VmHWM") < 220  # it has held 140 so far; a cell for each of them would be 200 more
    for client in stalled:  # given up after stall_s: the end comes before the announced length
        client.settimeout(30)
        received = 0
        try:
            while piece := client.recv(MIB):
                received += len(piece)
        except ConnectionResetError:
            pass
        assert received < 12 * MIB
        client.close()


def test_slow_clients_hold_nobody_up_and_get_the_same_bytes(front: Front, disk: Disk) -> None:
    """There are more of them than cells in memory: theirs are taken away, and put together again later."""
    slow = [connect(front, disk.raw, 1 << 16) for _ in range(16)]
    time.sleep(0.6)
    assert requests.get(disk.raw, timeout=60).content == disk.content

    def rest(client: socket.socket) -> bytes:
        with client, client.makefile("rb") as stream:
            while stream.readline().strip():
                pass
            return stream.read(len(disk.content))

    with ThreadPoolExecutor(len(slow)) as pool:
        assert all(content == disk.content for content in pool.map(rest, slow))


def test_aborted_downloads_leave_nothing_in_memory(front: Front, disk: Disk) -> None:
    found = []
    for _ in range(6):
        clients = [connect(front, disk.raw) for _ in range(20)]
        for client in clients:
            client.recv(100)
        time.sleep(0.5)  # each has a cell under way
        for client in clients:
            client.close()
        time.sleep(0.7)
        found.append(memory_mb(front))
    assert max(found[2:]) < found[0] + 60, found
    assert "Traceback" not in (front.folder / "gateway.log").read_text()  # OpenNebula hangs up after a first look


def test_a_repository_that_fails_half_way_breaks_the_transfer_off(front: Front, tmp_path: Path) -> None:
    own = Disk(front, tmp_path)
    folder = Path(front.market["REPOSITORY"][4:])
    # another content than the first disk has: its own packs
    image = tmp_path / "other"
    image.write_bytes(random.Random(9).randbytes(64 * MIB))
    before = set((folder / "packs").rglob("*"))
    values = front.import_(image, "raw", VM_ID="9").values
    url = front.served(values["SOURCE"])
    packs = sorted(path for path in set((folder / "packs").rglob("*")) - before if path.is_file())
    answer = requests.get(url, stream=True, timeout=30)
    pieces = answer.iter_content(65536)
    next(pieces)
    for path in packs:
        path.rename(path.with_suffix(".away"))
    try:
        assert cut_off(url) is None or cut_off(url) == 503
        with pytest.raises(requests.exceptions.RequestException):
            for _ in pieces:
                time.sleep(0.001)
        done = subprocess.run(["curl", "--fail", "-sS", "-o", str(tmp_path / "got"), url], capture_output=True)
        assert done.returncode in (18, 22, 52, 56)
    finally:
        for path in packs:
            path.with_suffix(".away").rename(path)
    assert requests.get(url, timeout=30).content == image.read_bytes()
    assert requests.get(own.raw, timeout=60).content == own.content
    said = (front.folder / "gateway.log").read_text()
    assert "is not in the repository" in said and "Traceback" not in said


def cut_off(url: str) -> Optional[int]:
    """The status of an answer that was complete; None for one that broke off."""
    try:
        return requests.get(url, timeout=30).status_code
    except requests.exceptions.RequestException:
        return None


def test_it_ends_in_order(front: Front, disk: Disk) -> None:
    client = connect(front, disk.raw)
    client.recv(100)
    began = time.monotonic()
    assert front.stop_gateway() == 0 and time.monotonic() - began < 15
    client.close()
    front.start_gateway()


def test_more_than_this_machine_needs_a_certificate_and_a_token(tmp_path: Path) -> None:
    front = Front(tmp_path / "one", {"REPOSITORY": f"dir:{tmp_path / 'repository'}"})
    front.configure(gateway={"address": "0.0.0.0"})
    refused = front.onebackup("gateway", "--port", 0)
    assert refused.code == 2 and "tls_certificate" in refused.err
    certificate, key, token = (tmp_path / name for name in ("certificate", "key", "token"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=gateway", "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True,
    )  # fmt: skip
    token.write_text("a-token-of-some-length\n")
    front.configure(gateway={
        "address": "127.0.0.1", "tls_certificate": str(certificate), "tls_key": str(key), "token_file": str(token),
    })  # fmt: skip
    assert front.onebackup("repository", "create", front.market["REPOSITORY"]).code == 0
    image = tmp_path / "image"
    image.write_bytes(os.urandom(MIB))
    source = front.import_(image, "raw").values["SOURCE"]
    assert source.startswith("https://127.0.0.1:2690/a-token-of-some-length/")
    front.start_gateway()
    try:
        url = front.served(source)
        got = subprocess.run(["curl", "--fail", "-sSk", url], capture_output=True)
        assert got.returncode == 0 and got.stdout == image.read_bytes()
        without = url.replace("/a-token-of-some-length", "")
        assert subprocess.run(["curl", "--fail", "-sSk", without], capture_output=True).returncode == 22
    finally:
        front.stop_gateway()
