# SPDX-License-Identifier: Apache-2.0
"""Waiting for what comes soon, or does not."""

from __future__ import annotations

import time
from collections.abc import Callable


def settle(condition: Callable[[], object], timeout_s: float = 5.0) -> bool:
    """Whether the condition comes to hold."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
