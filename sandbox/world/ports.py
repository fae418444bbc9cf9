# SPDX-License-Identifier: Apache-2.0
"""Free ports on loopback, below the range from which the kernel takes ports for outgoing connections."""
from __future__ import annotations

import random
import socket

_LOWEST, _HIGHEST = 20000, 32000
_RANDOM = random.SystemRandom()


def free(count: int = 1) -> int:
    """Return the first of `count` ports in a row that are free now. Raises OSError after 100 tries."""
    for _ in range(100):
        first = _RANDOM.randrange(_LOWEST, _HIGHEST - count)
        if all(is_free(port) for port in range(first, first + count)):
            return first
    raise OSError(f"no {count} free ports in a row between {_LOWEST} and {_HIGHEST}")


def is_free(port: int) -> bool:
    """Return whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def answers(port: int) -> bool:
    """Return whether a server accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
