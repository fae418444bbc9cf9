# SPDX-License-Identifier: Apache-2.0
"""The HTTP side: XML-RPC at /RPC2 with keep-alive, control at /control; answers worded on the wire as oned's."""

from __future__ import annotations

import itertools
import json
import logging
import socket
import xmlrpc.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

from sandbox.core import control, methods
from sandbox.core.errors import Fault
from sandbox.core.faults import Dropped
from sandbox.core.front import Front
from sandbox.core.methods import Result

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\r\n<methodResponse>\r\n'
AfterCall = Callable[[Front, str, list[Any], Result], None]


def value_xml(value: Any) -> str:
    if isinstance(value, bool):
        return f"<value><boolean>{int(value)}</boolean></value>\r\n"
    if isinstance(value, int):
        return f"<value><i4>{value}</i4></value>\r\n"
    text = escape(str(value)).replace("\r", "&#x0d;")
    return f"<value><string>{text}</string></value>\r\n"


def result_xml(result: Result) -> str:
    ok, value, code, object_id = result
    values = value_xml(ok) + value_xml(value) + value_xml(code)
    if not ok:
        values += value_xml(object_id) + "<value><i8>-1</i8></value>\r\n"
    array = f"<param><value><array><data>\r\n{values}</data></array></value></param>\r\n"
    return f"{HEAD}<params>\r\n{array}</params>\r\n</methodResponse>\r\n"


def fault_xml(code: int, message: str) -> str:
    members = (
        f"<member><name>faultCode</name>\r\n<value><i4>{code}</i4></value></member>\r\n"
        f"<member><name>faultString</name>\r\n<value><string>{escape(message)}</string></value></member>\r\n"
    )
    return f"{HEAD}<fault>\r\n<value><struct>\r\n{members}</struct></value>\r\n</fault>\r\n</methodResponse>\r\n"


class Server(ThreadingHTTPServer):
    """Listens on loopback only."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, front: Front, port: int, after_call: AfterCall) -> None:
        self.front = front
        self.after_call = after_call
        self.requests = itertools.count(1)
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are no error of ours."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: the call log of the control interface says it better."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/control":
            self._control(body)
        elif self.path == "/RPC2":
            self._rpc(body)
        else:
            self.send_error(404)

    def _control(self, body: bytes) -> None:
        try:
            answer, status = control.run(self.server.front, json.loads(body)), 200
        except (ValueError, KeyError, TypeError) as error:
            answer, status = {"error": str(error)}, 400
        self._send(json.dumps(answer), "application/json", status)

    def _rpc(self, body: bytes) -> None:
        try:
            parameters, name = xmlrpc.client.loads(body)
        except (ExpatError, xmlrpc.client.Error, ValueError, TypeError, AttributeError, KeyError) as error:
            self._send(fault_xml(-503, f"Call is not valid XML. {error}"), "text/xml")
            return
        try:
            self._send(self._call(str(name), parameters), "text/xml")
        except Dropped:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _call(self, name: str, parameters: Any) -> str:
        front = self.server.front
        try:
            result, arguments = methods.call(front, name, parameters, next(self.server.requests) % 10000)
        except Fault as fault:
            return fault_xml(fault.code, fault.message)
        except Dropped:
            raise
        except Exception as error:
            logging.exception("[ReM] %s failed", name)
            return fault_xml(-500, f"Bug in the sandbox: {error!r}")
        self.server.after_call(front, name, arguments, result)
        front.faults.apply(name, "after")
        return result_xml(result)

    def _send(self, text: str, content_type: str, status: int = 200) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
