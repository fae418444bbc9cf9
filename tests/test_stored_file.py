# SPDX-License-Identifier: Apache-2.0
"""What a marketplace stored, fetched from a real HTTP server that may break off."""

from __future__ import annotations

import gzip
import hashlib
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from onebackup_driver import errors, stored_file
from tests import http_server
from tests.http_server import closed, content

#: More than one piece, not a whole number of them.
BODY = bytes(range(256)) * 4096 * 3 + b"end"
MD5 = hashlib.md5(BODY).hexdigest()


def test_length_and_checksum() -> None:
    with http_server.running(content(BODY)) as server:
        assert stored_file.fetch(f"{server.url}/app", True, 10) == stored_file.Stored(len(BODY), MD5)
        assert stored_file.fetch(f"{server.url}/app", False, 10) == stored_file.Stored(len(BODY), None)
    assert server.requests == ["GET /app", "GET /app"]


def test_an_empty_file() -> None:
    with http_server.running(content(b"")) as server:
        assert stored_file.fetch(server.url, True, 10) == stored_file.Stored(0, hashlib.md5(b"").hexdigest())


def test_the_bytes_count_not_what_they_unpack_to() -> None:
    """An image that is itself compressed, from a server that says so."""
    packed = gzip.compress(BODY)
    with http_server.running(content(packed, headers={"Content-Encoding": "gzip"})) as server:
        found = stored_file.fetch(server.url, True, 10)
    assert found == stored_file.Stored(len(packed), hashlib.md5(packed).hexdigest())


def test_a_redirect_is_followed() -> None:
    with http_server.running(content(BODY)) as target:
        moved = content(b"", status=302, headers={"Location": f"{target.url}/there"})
        with http_server.running(moved) as server:
            assert stored_file.fetch(f"{server.url}/here", True, 10).md5 == MD5
    assert target.requests == ["GET /there"]


def test_chunks_without_a_length() -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in (b"abc", b"defgh"):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    with http_server.running(chunked) as server:
        assert stored_file.fetch(server.url, True, 10).length == 8


def broken_chunks(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"5\r\nabcde\r\n")


@pytest.mark.parametrize(
    "answer, words",
    [
        (content(b"gone", status=404), "answers 404"),
        (content(b"no", status=403), "answers 403"),
        (content(b"oops", status=500), "answers 500"),
        (content(b"part", status=206), "answers 206"),
        (content(BODY[:1000], length=5000), "1000|broke off|cannot fetch"),
        (broken_chunks, "cannot fetch"),
        (closed, "cannot fetch"),
        (content(b"x", headers={"Location": "nowhere"}, status=302), "answers|cannot fetch"),
    ],
    ids=["404", "403", "500", "206", "short", "broken chunks", "closed", "redirect"],
)
def test_what_is_not_there_to_its_end_is_a_failure(answer: object, words: str) -> None:
    with http_server.running(answer) as server:  # type: ignore[arg-type]
        with pytest.raises(errors.Failed, match=words) as caught:
            stored_file.fetch(f"{server.url}/app", True, 10)
        assert server.url in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/app", "http://no-such-market.invalid/app", "http://", "http://[::1/x"]
)
def test_no_server(url: str) -> None:
    with pytest.raises(errors.Failed, match="cannot fetch what the marketplace stored"):
        stored_file.fetch(url, False, 10)


def test_a_download_that_takes_too_long_ends() -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**9))
        handler.end_headers()
        while not handler.server.book.ended.wait(0.02):  # type: ignore[attr-defined]
            handler.wfile.write(bytes(1024 * 1024))

    with http_server.running(slow) as server:
        began = time.monotonic()
        with pytest.raises(errors.TimedOut, match="took longer than 0.3 s"):
            stored_file.fetch(server.url, False, 0.3)
        assert time.monotonic() - began < 5


def test_local_files(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(BODY)
    assert (stored_file.local_length(str(image)), stored_file.local_md5(str(image))) == (len(BODY), MD5)
    for missing in (str(tmp_path / "none"), ""):
        assert stored_file.local_length(missing) is None and stored_file.local_md5(missing) is None
    assert stored_file.local_md5(str(tmp_path)) is None
