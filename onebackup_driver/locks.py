# SPDX-License-Identifier: Apache-2.0
"""One run per VM, one timer: kernel locks (flock), which a dead process never holds."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onebackup_driver import clock, errors, files, json_text, units


class Busy(errors.Refused):
    """Another live process works on this VM, or is the timer."""


@contextmanager
def vm(directory: Path, vm_id: int, doing: str) -> Iterator[None]:
    """Hold the lock of one VM. Raises Busy naming the holder; `doing` is what others read, e.g. `being backed up`."""
    with _hold(_vm_path(directory, vm_id), f"VM {vm_id}", doing):
        yield


@contextmanager
def timer(directory: Path) -> Iterator[None]:
    """Be the only `onebackup run`. Raises Busy naming the other."""
    with _hold(directory / "timer.lock", "onebackup run", "under way"):
        yield


def _vm_path(directory: Path, vm_id: int) -> Path:
    return directory / f"vm-{vm_id}.lock"


@contextmanager
def _hold(path: Path, what: str, doing: str) -> Iterator[None]:
    try:
        files.make_private_directory(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise errors.Refused(f"cannot take the lock {path}: {error.strerror}; nothing was touched") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{what} is {_holder(path)}; try again when it has ended") from None
        _sign(descriptor, doing)
        yield
    finally:
        os.close(descriptor)  # the file stays: removing it would let two processes lock two files of one name


def _sign(descriptor: int, doing: str) -> None:
    note = {"pid": os.getpid(), "since": clock.now(), "doing": doing}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
    except OSError:
        pass  # a full disk: the lock holds without its note


def _holder(path: Path) -> str:
    try:
        note = json_text.read(path)
        since = units.local_time(json_text.whole(note["since"]))
        return f"{note['doing']} by pid {json_text.whole(note['pid'])} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "being worked on by another process"
