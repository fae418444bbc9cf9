# SPDX-License-Identifier: Apache-2.0
"""The worker that hooks start: one process of its own that carries out what waits in the queue, then ends."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onebackup_driver import commands, files
from onebackup_driver.paths import Paths

_LOG_LIMIT_BYTES = 10 * 1024 * 1024


def start(where: Paths) -> bool:
    """Start a worker when none runs; whether one was started. To be called after the request was queued.

    A worker looks at the queue once more after it gave its lock back (serving.work), so a request that was queued
    while it still held the lock is not forgotten.
    """
    with only_one(where.locks) as free:
        pass
    if free:
        _turn_over(where.log)
        commands.start_detached([sys.executable, "-I", "-m", "onebackup_driver.cli.main", "work"], where.log)
    return free


@contextmanager
def only_one(directory: Path) -> Iterator[bool]:
    """Hold the worker's kernel lock; False when another worker has it."""
    files.make_private_directory(directory)
    descriptor = os.open(directory / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _turn_over(log: Path) -> None:
    """Keep the log bounded: one older file beside it."""
    try:
        if log.stat().st_size > _LOG_LIMIT_BYTES:
            os.replace(log, f"{log}.1")
    except FileNotFoundError:
        pass
