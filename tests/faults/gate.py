# SPDX-License-Identifier: Apache-2.0
"""What stands before a marketplace's storage, on loopback: open, shut (connections are refused), or breaking off."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_PIECE_BYTES = 64 * 1024


class Gate:
    """Passes connections on to 127.0.0.1:`port`; its own port stays the same."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._breaks_off = False
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        self._open = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lead_to(self, port: int) -> None:
        self._target = ("127.0.0.1", port)

    def shut(self) -> None:
        if self._open:
            self._open = False
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def break_off(self) -> None:
        """From now on an answer ends after its first piece."""
        self._breaks_off = True

    def open(self) -> None:
        self._breaks_off = False
        if not self._open:
            self._listener, self._open = self._listen(self.port), True

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # shut
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._target, 10)
        except OSError:
            client.close()
            return
        asking = threading.Thread(target=_pump, args=(client, server, False), daemon=True)
        asking.start()
        _pump(server, client, self._breaks_off)
        asking.join()
        client.close()
        server.close()


def _pump(source: socket.socket, target: socket.socket, breaks_off: bool) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE_BYTES):
            if breaks_off:
                target.sendall(piece[: len(piece) // 2])
                break
            target.sendall(piece)
    for end in (source, target) if breaks_off else (target,):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR if breaks_off else socket.SHUT_WR)
