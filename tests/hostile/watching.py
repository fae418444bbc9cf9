# SPDX-License-Identifier: Apache-2.0
"""Proof that a file was not opened: inotify sees every open of every process."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OPENED = 0x20 | 0x1  # IN_OPEN, IN_ACCESS
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def touched(self) -> bool:
        """Whether anybody opened or read one of the files since the last time."""
        try:
            return bool(os.read(self._descriptor, 65536))
        except BlockingIOError:
            return False


@contextmanager
def watched(*paths: Path) -> Iterator[Watch]:
    descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0
    try:
        for path in paths:
            assert _libc.inotify_add_watch(descriptor, os.fsencode(path), _OPENED) >= 0, os.strerror(ctypes.get_errno())
        yield Watch(descriptor)
    finally:
        os.close(descriptor)
