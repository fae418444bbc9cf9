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


class Stopwatch:
    """How long something has taken, also while the machine slept or its clock was set: the most that any clock says."""

    def __init__(self) -> None:
        self._began = _all_clocks()

    def elapsed_s(self) -> float:
        """Seconds since it was made; rather too many than too few."""
        return max(now - began for now, began in zip(_all_clocks(), self._began))


def _all_clocks() -> tuple[float, ...]:
    boot = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the machine sleeps
    return time.monotonic(), time.clock_gettime(boot), time.time()


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)
