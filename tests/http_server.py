# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server on loopback that answers as a test tells it to, also wrongly, and remembers what was asked."""

from __future__ import annotations

import socketserver
import threading
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Callable

from lxml import etree


@dataclass
class Server:
    """`answers` is used up one by one, the last one again and again; each gets the handler and writes to its socket."""

    port: int
    answers: list[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def methods(self) -> list[str]:
        """The XML-RPC methods that were called."""
        return [str(xmlrpc.client.loads(body)[1]) for body in self.bodies]


class _Threads(socketserver.ThreadingMixIn, socketserver.TCPServer):
    book: Server
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of the tests."""


@contextmanager
def running(*answers: Callable[[BaseHTTPRequestHandler], None], port: int = 0) -> Iterator[Server]:
    """A server with these answers."""
    book = Server(port, list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            book.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.do_GET()

        def do_GET(self) -> None:
            book.requests.append(f"{self.command} {self.path}")
            self.close_connection = True
            answer = book.answers[0] if len(book.answers) == 1 else book.answers.pop(0)
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with _Threads(("127.0.0.1", port), Handler) as server:
        server.book = book
        book.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield book
        finally:
            book.ended.set()
            server.shutdown()
            thread.join()


def content(
    body: bytes, status: int = 200, length: int | None = None, headers: dict[str, str] | None = None
) -> Callable[[BaseHTTPRequestHandler], None]:
    """An ordinary answer; with another `length` the body is shorter than announced."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def closed(handler: BaseHTTPRequestHandler) -> None:
    """Nothing: the connection ends after the request."""


def rpc(value: Any) -> Callable[[BaseHTTPRequestHandler], None]:
    """An XML-RPC answer: a value, or a Fault."""
    if isinstance(value, xmlrpc.client.Fault):
        return content(xmlrpc.client.dumps(value).encode())
    return content(xmlrpc.client.dumps((value,), methodresponse=True).encode())


def good(value: Any) -> Callable[[BaseHTTPRequestHandler], None]:
    """A successful answer of OpenNebula."""
    return rpc([True, value, 0])


def refused(code: int, message: str = "no") -> Callable[[BaseHTTPRequestHandler], None]:
    """A refusal of OpenNebula, as recorded."""
    return rpc([False, message, code, -1, -1])


def front_end(*known: etree._Element) -> Callable[[BaseHTTPRequestHandler], None]:
    """A front-end that knows some objects, each by its `one.*.info`, VMs also by their pool, and its version."""
    kinds = {"VM": "one.vm.info", "MARKETPLACE": "one.market.info", "MARKETPLACEAPP": "one.marketapp.info"}
    by_call = {(kinds[str(item.tag)], item.findtext("ID")): etree.tostring(item).decode() for item in known}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = handler.server.book.bodies[-1]  # type: ignore[attr-defined]
        arguments, method = xmlrpc.client.loads(body)
        if method == "one.system.version":
            good("7.4.0")(handler)
        elif method == "one.vmpool.info":
            wanted = {item for (call, item) in by_call if call == "one.vm.info" and item == str(arguments[2])}
            good(f"<VM_POOL>{''.join(by_call['one.vm.info', item] for item in wanted)}</VM_POOL>")(handler)
        elif len(arguments) > 1 and (method, str(arguments[1])) in by_call:
            good(by_call[str(method), str(arguments[1])])(handler)
        else:
            refused(1024, f"[{method}] Error getting object [{arguments[1:]}].")(handler)

    return answer
