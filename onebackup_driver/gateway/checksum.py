# SPDX-License-Identifier: Apache-2.0
"""The MD5 of what the gateway will serve."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Optional

from onebackup_driver.gateway.content import Content

_THREADS = 3
_AHEAD = 5


def md5(content: Content, progress: Optional[Callable[[int, int], None]] = None) -> str:
    """In hexadecimal. Raises what the disk of the content raises when something cannot be read."""
    digest, done = hashlib.md5(usedforsecurity=False), 0
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for job in content.jobs():
                waiting.append(pool.submit(content.carry_out, job))
                if len(waiting) >= _AHEAD:
                    done += _add(digest, waiting)
                    if progress is not None:
                        progress(done, content.size_bytes)
            while waiting:
                done += _add(digest, waiting)
        finally:
            for future in waiting:
                future.cancel()
    return digest.hexdigest()


def _add(digest: hashlib._Hash, waiting: deque[Future[bytes]]) -> int:
    data = waiting.popleft().result()
    digest.update(data)
    return len(data)
