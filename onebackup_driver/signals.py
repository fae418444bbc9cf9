# SPDX-License-Identifier: Apache-2.0
"""A signal ends a run in order: it becomes an exception once; during the undo and afterwards it is only remembered."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Optional

from onebackup_driver import errors

#: How long after a signal was lost it is sent again.
_AGAIN_S = 0.05
_deferred = 0
_pending: Optional[int] = None
_raised = False


def install() -> None:
    """Let SIGTERM, SIGINT and SIGHUP raise Terminated in the main thread; the first one only.

    One that the caller had us ignore (nohup, a background job of a shell) stays ignored.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)
    sys.unraisablehook = _swallowed


def _swallowed(lost: sys.UnraisableHookArgs) -> None:
    """Python drops what is raised in a finalizer, which it runs at any moment: the signal is sent again."""
    global _raised
    if not isinstance(lost.exc_value, errors.Terminated):
        sys.__unraisablehook__(lost)
        return
    _raised = False
    again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), lost.exc_value.signal_number))
    again.daemon = True
    again.start()


def _handle(number: int, frame: Optional[FrameType]) -> None:
    global _pending, _raised
    if _raised:
        return
    if _deferred:
        _pending = number
        return
    _raised = True
    raise errors.Terminated(number)


@contextmanager
def deferred() -> Iterator[None]:
    """Hold signals back inside the block; one that arrived is raised at its end, unless an error is on its way."""
    global _deferred, _pending, _raised
    _deferred += 1
    try:
        yield
    finally:
        _deferred -= 1
    if not _deferred and _pending is not None and not _raised:
        number, _pending, _raised = _pending, None, True
        raise errors.Terminated(number)
