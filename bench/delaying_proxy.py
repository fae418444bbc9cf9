# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy on loopback that adds latency and no limit of bandwidth: a store far away.

    python -m bench.delaying_proxy PORT ROUND_TRIP_MS        prints its own port; runs until SIGTERM

Every byte arrives half a round trip later, in each direction; a new connection takes one round trip to be there. The
"line" holds as much as is sent; 64 MiB for each direction, beyond that the sender waits as for a full window.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Optional

_WINDOW_BYTES = 64 * 1024 * 1024


class _End(asyncio.Protocol):
    """One end of a connection; what it receives is written to its peer later, in the same order."""

    def __init__(self, delay_s: float):
        self._delay_s, self._loop = delay_s, asyncio.get_running_loop()
        self.transport: Optional[asyncio.Transport] = None
        self.peer: Optional[_End] = None
        self._line: deque[bytes] = deque()
        self._flying, self._is_full = 0, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(_WINDOW_BYTES)
        self.transport = transport

    def join(self, peer: _End) -> None:
        """Both ends are there; what came before sets out now."""
        self.peer = peer
        for _ in self._line:
            self._loop.call_later(self._delay_s, self._arrive)

    def data_received(self, data: bytes) -> None:
        self._line.append(data)
        self._flying += len(data)
        self._regulate()
        if self.peer is not None:
            self._loop.call_later(self._delay_s, self._arrive)

    def _arrive(self) -> None:
        data = self._line.popleft()
        self._flying -= len(data)
        assert self.peer is not None and self.peer.transport is not None
        self.peer.transport.write(data)
        self._regulate()

    def pause_writing(self) -> None:
        self._hold_peer(True)

    def resume_writing(self) -> None:
        self._hold_peer(False)

    def _hold_peer(self, is_full: bool) -> None:
        if self.peer is not None:
            self.peer._is_full = is_full
            self.peer._regulate()

    def _regulate(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self._is_full or self._flying > _WINDOW_BYTES:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def connection_lost(self, error: Optional[Exception]) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self._loop.call_later(self._delay_s, self.peer.transport.close)


async def _serve(port: int, round_trip_s: float) -> None:
    loop = asyncio.get_running_loop()
    connecting: set[asyncio.Task[None]] = set()

    def accept() -> _End:
        near = _End(round_trip_s / 2)
        task = loop.create_task(connect(near))
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return near

    async def connect(near: _End) -> None:
        await asyncio.sleep(round_trip_s)
        try:
            _, far = await loop.create_connection(lambda: _End(round_trip_s / 2), "127.0.0.1", port)
        except OSError:
            if near.transport is not None:
                near.transport.abort()
            return
        far.join(near)
        near.join(far)

    server = await loop.create_server(accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
