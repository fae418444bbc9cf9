# SPDX-License-Identifier: Apache-2.0
"""A proxy between a repository and a real S3 server: it can do anything to the n-th request, and it has its own clock.

with proxy.running(server, bucket) as between:     between.options, between.plan = Plan(...), between.clock.ahead_s
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional
from urllib.parse import parse_qs, unquote, urlsplit

_HOP = {"connection", "expect", "keep-alive", "transfer-encoding", "content-length"}
_ENTRY = re.compile(rb"<(?:Contents|Upload)>.*?</(?:Contents|Upload)>", re.S)
_KEY = re.compile(rb"<Key>(.*?)</Key>")
_TIME = re.compile(rb"(<(?:LastModified|Initiated)>)(.*?)(</)")


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Clock:
    """The time of the store: it may be ahead of ours; each object keeps the time at which it was written."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._offsets: dict[str, float] = {}

    def forget(self) -> None:
        self.ahead_s, self._offsets = 0.0, {}

    def stamp(self, key: str, offset_s: Optional[float] = None) -> None:
        self._offsets[key] = self.ahead_s if offset_s is None else offset_s

    def age_s(self, key: str) -> float:
        """How old the store says that an object is, but for the seconds of this run."""
        return self.ahead_s - self._offsets.get(key, 0.0)

    def moved(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """What time it is now."""
        return [(name, _dated(value, self.ahead_s) if name.lower() == "date" else value) for name, value in headers]

    def shifted(self, listing: bytes) -> bytes:
        def entry(match: re.Match[bytes]) -> bytes:
            key = _KEY.search(match.group())
            offset = self._offsets.get(unquote(key.group(1).decode()) if key else "", 0.0)
            return _TIME.sub(lambda time: time.group(1) + _moved(time.group(2), offset) + time.group(3), match.group())

        return _ENTRY.sub(entry, listing)


def _dated(text: str, offset_s: float) -> str:
    return format_datetime(parsedate_to_datetime(text) + timedelta(seconds=offset_s), usegmt=True)


def _moved(stamp: bytes, offset_s: float) -> bytes:
    time = datetime.strptime(stamp.decode(), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return (time + timedelta(seconds=offset_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()


class Exchange:
    """One request that a fault may do something to. Exactly one of reply, reset, hang ends it."""

    def __init__(self, handler: _Handler, label: str, body: bytes):
        self._handler, self.label, self.body = handler, label, body

    def forward(self) -> Answer:
        return self._handler.forward(self.body)

    def reply(self, answer: Answer, only: Optional[int] = None) -> None:
        """Answer; with `only` so many bytes of the body, then the connection is cut."""
        self._handler.reply(answer, only)

    def reset(self) -> None:
        """RST."""
        self._handler.reset()

    def hang(self) -> None:
        """Never answer; ends when the client does."""
        self._handler.hang()


Fault = Callable[[Exchange], None]


@dataclass
class Plan:
    """`fault` strikes request number `at`, and all later ones when `lasting`; `only`: labels it applies to."""

    fault: Optional[Fault] = None
    at: int = 0
    lasting: bool = False
    only: Callable[[str], bool] = lambda label: True
    seen: list[str] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, label: str) -> Optional[Fault]:
        with self.lock:
            self.seen.append(label)
            number = len(self.seen)
            due = number == self.at or (self.lasting and number > self.at)
            if self.fault is None or not due or not self.only(label):
                return None
            self.struck.append(label)
            return self.fault


class Proxy:
    """What tests see of it. `options`: of a location."""

    def __init__(self, server: Any, bucket: str):
        self.upstream = ("127.0.0.1", int(server.port))
        self.bucket, self.clock, self.plan = bucket, Clock(), Plan()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self.listener = _Listener(("127.0.0.1", 0), handler)
        self.listener.daemon_threads = True
        self.options = {
            "ENDPOINT": f"http://127.0.0.1:{self.listener.server_address[1]}",
            "ACCESS_KEY_ID": server.access_key,
            "SECRET_ACCESS_KEY": server.secret_key,
        }


class _Listener(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is none."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def running(server: Any, bucket: str) -> Iterator[Proxy]:
    made = Proxy(server, bucket)
    thread = threading.Thread(target=made.listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.listener.shutdown()
        made.listener.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    timeout = 120
    disable_nagle_algorithm = True
    _connection: Optional[http.client.HTTPConnection] = None

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._key, label = self._label()
        fault = self.proxy.plan.take(label)
        exchange = Exchange(self, label, body)
        try:
            if fault is None:
                exchange.reply(exchange.forward())
            else:
                fault(exchange)
        except OSError:
            self.close_connection = True  # the client has gone: it was killed, or did not want to wait

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _label(self) -> tuple[str, str]:
        """The key, and the request in words: "PUT packs/", "LIST manifests/", "POST packs/ uploads"."""
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        key = unquote(parts.path).lstrip("/").partition("/")[2]
        method, name = (self.command, key) if key else ("LIST", query.get("prefix", [""])[0])
        folder = name.split("/")[1] or "all"
        extra = next((f" {word}" for word in ("uploads", "partNumber", "uploadId") if word in query), "")
        return key, f"{method} {folder}{extra}"

    def forward(self, body: bytes) -> Answer:
        for attempt in (1, 2):
            try:
                answer = self._forward(body)
                break
            except (http.client.HTTPException, ConnectionError):
                self._connection = None
                if attempt == 2:
                    raise
        if answer.status == 200 and self.command in ("PUT", "POST"):
            self.proxy.clock.stamp(self._key)
        answer.headers = self.proxy.clock.moved(answer.headers)
        if self.command == "GET" and not self._key:
            answer.body = self.proxy.clock.shifted(answer.body)
        return answer

    def _forward(self, body: bytes) -> Answer:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self.proxy.upstream, timeout=120)
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._connection
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
        if self.command == "HEAD":
            headers.append(("Content-Length", answer.getheader("Content-Length") or "0"))
        return Answer(answer.status, headers, content)

    def reply(self, answer: Answer, only: Optional[int]) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body if only is None else answer.body[:only])
        self.wfile.flush()
        if only is not None:
            self.close_connection = True

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def hang(self) -> None:
        self.connection.settimeout(60)
        self.connection.recv(1)
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        return
