# SPDX-License-Identifier: Apache-2.0
"""A connection to a server that a test can pull out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Cable:
    """Forwards connections to `port` of this machine. `brought_bytes`: what came back so far. `keys`: of the server."""

    def __init__(self, port: int):
        self._target, self._sockets = port, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.is_out = False
        self.brought_bytes = 0
        self.keys: dict[str, str] = {}
        threading.Thread(target=self._accept, daemon=True).start()

    def pull_out(self) -> None:
        """From now on nothing gets through; what is under way breaks off."""
        self.is_out = True
        self._hang_up()

    def plug_in(self) -> None:
        self.is_out = False

    def close(self) -> None:
        self.pull_out()
        self._listener.close()

    def _hang_up(self) -> None:
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                if self.is_out:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, target, source is far), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
                if is_answer:
                    self.brought_bytes += len(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def to(port: int) -> Iterator[Cable]:
    made = Cable(port)
    try:
        yield made
    finally:
        made.close()
