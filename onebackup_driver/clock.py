# SPDX-License-Identifier: Apache-2.0
"""The only place that asks what time it is or sleeps."""

from __future__ import annotations

import time


def now() -> int:
    """Seconds since the epoch, for what people and other programs read."""
    return int(time.time())


def now_micros() -> int:
    """Microseconds since the epoch, for names that sort as they were made."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Seconds that never go back, for deadlines and durations."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)
