# SPDX-License-Identifier: Apache-2.0
"""Stands between onebackup and the front-end: logs its calls, and lets a test step in at exactly one of them."""

from __future__ import annotations

import http.client
import socket
import threading
import xmlrpc.client
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Callable, Optional

Deed = Callable[[], Any]
#: Called with the call, its parameters (the session first) and `before` or `after`; may raise Cut or Answer.
Watcher = Callable[[str, tuple[Any, ...], str], None]


class Cut(Exception):
    """Raised by a deed: the connection is closed without an answer."""


class Answer(Exception):
    """Raised by a watcher: this body is answered, whatever the front-end would have said."""

    def __init__(self, body: bytes) -> None:
        super().__init__("answered by a test")
        self.body = body


def cut() -> None:
    raise Cut


@dataclass
class _Intervention:
    call: str
    nth: int
    when: str
    deed: Deed
    seen: int = 0


class Proxy:
    """Use as a context manager. `calls`: the methods in their order; an action as `one.vm.action resume`.
    `watchers` see every call."""

    def __init__(self, endpoint: str) -> None:
        self.calls: list[str] = []
        self.deeds_done = 0
        self.problems: list[BaseException] = []
        self.watchers: list[Watcher] = []
        self._lock = threading.Lock()
        self._interventions: list[_Intervention] = []
        self._target = endpoint.split("/")[2]
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/RPC2"

    def at(self, call: str, deed: Deed, nth: int = 1, when: str = "before") -> None:
        """Do the deed before (or after) the nth such call is passed on."""
        self._interventions.append(_Intervention(call, nth, when, deed))

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._server.shutdown()
        self._server.server_close()

    def changing_calls(self) -> list[str]:
        """The calls that were not mere reading."""
        reading = (".info", ".infoextended", "one.system.version")
        return [call for call in self.calls if not call.split()[0].endswith(reading)]

    def note(self, call: str) -> None:
        with self._lock:
            self.calls.append(call)

    def step_in(self, call: str, parameters: tuple[Any, ...], when: str) -> None:
        for watcher in list(self.watchers):
            watcher(call, parameters, when)
        with self._lock:
            mine = [item for item in self._interventions if item.when == when and item.call in (call, call.split()[0])]
            for item in mine:
                item.seen += 1
            due = [item for item in mine if item.seen == item.nth]
        for item in due:
            self.deeds_done += 1
            try:
                item.deed()
            except Cut:
                raise
            except BaseException as error:
                self.problems.append(error)

    def forward(self, body: bytes, content_type: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._target, timeout=120)
        try:
            connection.request("POST", "/RPC2", body, {"Content-Type": content_type})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parameters, method = xmlrpc.client.loads(body)
        call = " ".join([str(method), *map(str, parameters[1:2] if method == "one.vm.action" else ())])
        self.server.proxy.note(call)
        try:
            status, answer = self._carried_out(call, parameters, body)
        except (Cut, OSError, http.client.HTTPException):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(status, answer)

    def _carried_out(self, call: str, parameters: tuple[Any, ...], body: bytes) -> tuple[int, bytes]:
        proxy = self.server.proxy
        try:
            proxy.step_in(call, parameters, "before")
            status, answer = proxy.forward(body, self.headers.get("Content-Type", "text/xml"))
            proxy.step_in(call, parameters, "after")
            return status, answer
        except Answer as instead:
            return 200, instead.body

    def _send(self, status: int, answer: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
