# SPDX-License-Identifier: Apache-2.0
"""The MD5 of what the gateway will serve."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Optional

from onebackup_driver.gateway.content import Content

_THREADS = 3
_AHEAD = 5


class _Waiting(NamedTuple):
    """A job that a thread carries out, and the memory for its cell."""

    parts: Future[list[memoryview]]
    buffer: memoryview


def md5(content: Content, progress: Optional[Callable[[int, int], None]] = None) -> str:
    """In hexadecimal. Raises what the disk of the content raises when something cannot be read."""
    digest, done = hashlib.md5(usedforsecurity=False), 0
    free = [memoryview(bytearray(content.disk.cell_bytes)) for _ in range(_AHEAD)]
    waiting: deque[_Waiting] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for job in content.jobs():
                buffer = free.pop()
                waiting.append(_Waiting(pool.submit(content.carry_out, job, buffer), buffer))
                if not free:
                    done += _add(digest, waiting, free)
                    if progress is not None:
                        progress(done, content.size_bytes)
            while waiting:
                done += _add(digest, waiting, free)
        finally:
            for one in waiting:
                one.parts.cancel()
    return digest.hexdigest()


def _add(digest: hashlib._Hash, waiting: deque[_Waiting], free: list[memoryview]) -> int:
    first = waiting.popleft()
    parts = first.parts.result()
    for part in parts:
        digest.update(part)
    free.append(first.buffer)
    return sum(map(len, parts))
