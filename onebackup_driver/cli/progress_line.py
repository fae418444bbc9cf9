# SPDX-License-Identifier: Apache-2.0
"""A line on the terminal that says how far something is, once it takes more than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

from onebackup_driver import clock

_SILENT_S = 2.0
_BETWEEN_S = 0.5


@contextmanager
def shown(what: str) -> Iterator[Callable[..., None]]:
    """A function to call with (done, of) or (done, of, of what), by any thread; it writes on standard error when that
    is a terminal."""
    begun = clock.monotonic()
    written = begun + _SILENT_S - _BETWEEN_S
    is_shown = False

    def tell(done: int, of: int, now_what: str = what) -> None:
        nonlocal written, is_shown
        now = clock.monotonic()
        if now - written < _BETWEEN_S or not sys.stderr.isatty():
            return
        written, is_shown = now, True
        sys.stderr.write(f"\r{done} of {of} {now_what}, {now - begun:.0f} s\x1b[K")
        sys.stderr.flush()

    try:
        yield tell
    finally:
        if is_shown:
            sys.stderr.write("\r\x1b[K")
