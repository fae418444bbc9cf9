# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import bz2
import gzip
import hashlib
import html
import lzma
import re
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import servers
from sandbox.world import datastore_drivers, disks
from sandbox.world.errors import DriverFailed

from .conftest import DATA, write_pattern

OPEN = {"SAFE_DIRS": "/", "RESTRICTED_DIRS": "/"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "image"
    disks.create(path, 40, "qcow2")
    write_pattern(path, "qcow2", 0x5A, 3, 2)
    return path


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.HttpServer]:
    with servers.http_server(tmp_path_factory.mktemp("public")) as server:
        yield server


def failure(*arguments: object, **options: object) -> str:
    with pytest.raises(DriverFailed) as caught:
        datastore_drivers.download(*arguments, **options)  # type: ignore[arg-type]
    return caught.value.message


@pytest.mark.parametrize("version", ["6.4", "7.4"])
def test_unknown_scheme_has_the_recorded_text(version: str) -> None:
    answer = html.unescape((DATA / f"unknown-scheme-{version}.response.xml").read_text())
    found = re.search(r"<ERROR><!\[CDATA\[.*? : (Error copying.*? to (/\S+))\]\]></ERROR>", answer, re.S)
    assert found
    recorded, destination = found[1], Path(found[2])
    datastore = {"SAFE_DIRS": "/var/tmp", "RESTRICTED_DIRS": "/"}
    assert failure("probe://app-1234", destination, datastore=datastore, version=version) == recorded


def test_http_is_copied_whole(tmp_path: Path, web: servers.HttpServer, image: Path) -> None:
    (web.public_dir / "app").write_bytes(image.read_bytes())
    md5 = hashlib.md5(image.read_bytes()).hexdigest()
    made = datastore_drivers.download(f"{web.url}app", tmp_path / "new", image={"MD5": md5})
    assert made == datastore_drivers.DownloadInfo(tmp_path / "new", "qcow2")
    assert (tmp_path / "new").read_bytes() == image.read_bytes()
    assert len(re.findall("GET /app ", web.access_log.read_text())) == 2, "stock reads every source twice"


def test_wrong_checksum_is_refused(tmp_path: Path, web: servers.HttpServer, image: Path) -> None:
    (web.public_dir / "app2").write_bytes(image.read_bytes())
    text = failure(f"{web.url}app2", tmp_path / "new", image={"MD5": "0" * 32}, version="6.4")
    assert "Hash does not match" in text
    assert f"downloader.sh --md5 {'0' * 32} '{web.url}app2' '{tmp_path}/new'\"" in text
    assert not (tmp_path / "new").exists()


def test_missing_file_and_dead_server(tmp_path: Path, web: servers.HttpServer) -> None:
    url = f"{web.url}nothing"
    text = failure(url, tmp_path / "new", version="6.4")
    assert text.startswith(f"Error copying image in the datastore: INFO: cp: Downloading image {url} to the image")
    assert "The requested URL returned error: 404" in text
    assert text.endswith(f"Error copying {url} to {tmp_path}/new")
    assert "404" not in failure(url, tmp_path / "new", version="7.4")
    assert failure("http://127.0.0.1:9/x", tmp_path / "new").startswith("Error copying image in the datastore: ")


class _Truncating(socketserver.BaseRequestHandler):
    """Promises 100000 bytes and hangs up after 1000."""

    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)


def test_truncated_transfer_fails(tmp_path: Path) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Truncating) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/x"
        text = failure(url, tmp_path / "new", version="6.4")
        server.shutdown()
        thread.join()
    assert "transfer closed" in text
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_compressed_sources(tmp_path: Path, web: servers.HttpServer, image: Path, compress: object) -> None:
    packed = compress(image.read_bytes())  # type: ignore[operator]
    source = tmp_path / "packed"
    source.write_bytes(packed)
    (web.public_dir / "packed").write_bytes(packed)
    for place in (str(source), f"{web.url}packed"):
        assert datastore_drivers.download(place, tmp_path / "new", datastore=OPEN).format == "qcow2"
        assert (tmp_path / "new").read_bytes() == image.read_bytes()
    datastore_drivers.download(str(source), tmp_path / "new", datastore={**OPEN, "NO_DECOMPRESS": "yes"})
    assert (tmp_path / "new").read_bytes() == packed

    source.write_bytes(packed[: len(packed) // 2])
    assert "Error copying" in failure(str(source), tmp_path / "new", datastore=OPEN)
    assert not (tmp_path / "new").exists()


def test_restricted_and_safe_directories(tmp_path: Path, image: Path) -> None:
    refused = {"SAFE_DIRS": "/var/tmp", "RESTRICTED_DIRS": "/"}
    text = failure(str(image), tmp_path / "new", datastore=refused)
    words = f"Not allowed to copy image from {image}, check RESTRICTED_DIRS in your datastore"
    assert text == f"Error copying image in the datastore: {words}"
    text = failure(str(image), tmp_path / "new", datastore=refused, version="6.4")
    assert "ERROR: cp: Not allowed to copy images from /var/lib/one/ /etc/one/" in text
    assert text.endswith(words)

    datastore_drivers.download(str(image), tmp_path / "new", datastore={**refused, "SAFE_DIRS": str(image.parent)})
    assert (tmp_path / "new").read_bytes() == image.read_bytes()
    (tmp_path / "way-out").symlink_to(image)
    safe = {**refused, "SAFE_DIRS": str(tmp_path)}
    assert words.replace(str(image), f"{tmp_path}/way-out") in failure(
        f"{tmp_path}/way-out", tmp_path / "new2", datastore=safe
    )
    text = failure(f"{tmp_path}/nothing", tmp_path / "new2", datastore=OPEN, version="6.4")
    assert f"failed: Cannot read from {tmp_path}/nothing" in text


def test_datastore_s_format(tmp_path: Path, image: Path) -> None:
    made = datastore_drivers.download(str(image), tmp_path / "raw", datastore={**OPEN, "DRIVER": "raw"})
    assert made.format == disks.information(tmp_path / "raw").format == "raw"
    assert disks.content_sha256(tmp_path / "raw", "raw") == disks.content_sha256(image, "qcow2")
    for keep in ({"CONVERT": "no"}, {"DRIVER": ""}):
        kept = datastore_drivers.download(str(image), tmp_path / "x", datastore={**OPEN, "DRIVER": "raw", **keep})
        assert kept.format == "qcow2"
    cdrom = datastore_drivers.download(
        str(image), tmp_path / "x", datastore={**OPEN, "DRIVER": "raw"}, image={"TYPE": "1"}
    )
    assert cdrom.format == "qcow2"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["raw", "x"]


def test_holes_stay_holes(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as stream:
        stream.seek(64 * 2**20)
        stream.write(b"end")
        stream.truncate(96 * 2**20)
    datastore_drivers.download(str(tmp_path / "sparse"), tmp_path / "new", datastore=OPEN)
    assert (tmp_path / "new").stat().st_size == 96 * 2**20
    assert (tmp_path / "new").stat().st_blocks * 512 < 4 * 2**20
    assert disks.content_sha256(tmp_path / "new", "raw") == disks.content_sha256(tmp_path / "sparse", "raw")


def test_export(tmp_path: Path, image: Path) -> None:
    (tmp_path / "raw").write_bytes(b"x" * 1000)
    assert datastore_drivers.export(image, 40) == datastore_drivers.ImportInfo(
        str(image), hashlib.md5(image.read_bytes()).hexdigest(), 40, "qcow2", "NO", ""
    )
    assert datastore_drivers.export(tmp_path / "raw", 1).format == "raw"
    with pytest.raises(DriverFailed, match="Error exporting image to file"):
        datastore_drivers.export(tmp_path / "nothing", 1)


def test_size_of_source(tmp_path: Path, web: servers.HttpServer, image: Path) -> None:
    (web.public_dir / "size").write_bytes(image.read_bytes())
    (web.public_dir / "raw").write_bytes(b"x" * (2**20 + 1))
    (web.public_dir / "packed").write_bytes(gzip.compress(b"x" * 5 * 2**20))
    assert datastore_drivers.size_of_source(str(image)) == 40
    assert datastore_drivers.size_of_source(f"{web.url}size") == 40
    assert datastore_drivers.size_of_source(f"{web.url}raw") == 2
    assert datastore_drivers.size_of_source(str(web.public_dir / "raw")) == 2
    assert datastore_drivers.size_of_source(str(web.public_dir / "packed")) == 5


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("/nosuch/file", "cannot access '/nosuch/file' (No such file or directory)"),
        ("probe://x", "cannot access 'probe://x' (No such file or directory)"),
        ("http://127.0.0.1:9/x", "Failed to get image head"),
    ],
)
def test_size_of_nothing(source: str, reason: str) -> None:
    with pytest.raises(DriverFailed) as caught:
        datastore_drivers.size_of_source(source)
    assert caught.value.message == reason
