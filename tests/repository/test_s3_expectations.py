# SPDX-License-Identifier: Apache-2.0
"""A server that is lost in the middle of `100 Continue`: botocore would read its end for ever."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator

import pytest

from onebackup_driver.repository.stores import s3_client
from onebackup_driver.s3_access import Access

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Breaking:
    """Answers puts, but for a client that waits to be told to go on: there it breaks off within the answer."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.stored: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        head, _, body = _until(connection, b"\r\n\r\n")
        if b"100-continue" in head.lower():
            connection.sendall(b"HTTP/1.1 100 Continue\r\n")
            return
        length = _LENGTH.search(head)
        assert length
        while len(body) < int(length[1]):
            body += connection.recv(1 << 16)
        self.stored.append(body)
        connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _until(connection: socket.socket, end: bytes) -> tuple[bytes, bytes, bytes]:
    data = b""
    while end not in data:
        data += connection.recv(1 << 16)
    return data.partition(end)


@pytest.fixture
def server() -> Iterator[Breaking]:
    found = Breaking()
    yield found
    found.close()


def test_a_put_ends_where_a_server_breaks_off_before_the_body(server: Breaking) -> None:
    access = Access(server.endpoint, "us-east-1", "s3v4", True, "key", "secret")
    client, data = s3_client.connect(access, 2), bytes(range(256)) * 40
    sending = threading.Thread(
        target=lambda: client.put_object(Bucket="depot", Key="index/1", Body=data, IfNoneMatch="*"), daemon=True
    )
    sending.start()
    sending.join(20)
    assert not sending.is_alive(), "the put never ends"
    assert server.stored == [data]
