# SPDX-License-Identifier: Apache-2.0
"""Waiting with a deadline: soon at first, then more rarely."""

from __future__ import annotations

from typing import Callable, Optional, TypeVar

from onebackup_driver import clock, errors

Result = TypeVar("Result")
_FIRST_PAUSE_S = 0.05
_GROWTH = 1.5


def until(
    check: Callable[[], Optional[Result]], timeout_s: float, what: str, longest_pause_s: float = 1.0, option: str = ""
) -> Result:
    """Call `check` until it returns something; that is returned. Its exceptions end the wait.

    Raises TimedOut with `what` (`VM 42 did not power off`) after `timeout_s` seconds; `option`: what sets them.
    """
    deadline, pause = clock.monotonic() + timeout_s, _FIRST_PAUSE_S
    while True:
        result = check()
        if result is not None:
            return result
        left = deadline - clock.monotonic()
        if left <= 0:
            named = f" (timeouts.{option} in onebackup.yaml)" if option else ""
            raise errors.TimedOut(f"{what} within {timeout_s:g} s{named}")
        clock.sleep(min(pause, left))
        pause = min(pause * _GROWTH, longest_pause_s)
