# SPDX-License-Identifier: Apache-2.0
"""Temporary folders. Those of a process that was killed are removed by the next one that makes such a folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Optional

from onebackup_driver import clock

#: In each folder, locked (flock) by the process that it belongs to.
_LOCK = ".owner"
#: A folder without a lock is one that is just being made, or was left by a process that was killed doing so.
_MAKING_S = 24 * 3600


class Folder:
    """A new folder in `parent` whose name begins with `prefix`, until it is closed or this process is dead."""

    def __init__(self, prefix: str, parent: Optional[Path] = None):
        """Raises OSError."""
        parent = parent or Path(tempfile.gettempdir())
        _remove_left(prefix, parent)
        self._descriptor = -1
        while self._descriptor < 0:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            self._descriptor = _locked(self.path / _LOCK, os.O_CREAT)

    def close(self) -> None:
        """Remove it and all that is in it."""
        if self._descriptor >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


def _locked(path: Path, flags: int = 0) -> int:
    """A descriptor that holds the lock; -1 when another process has it, or has just removed the folder."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return -1


def _remove_left(prefix: str, parent: Path) -> None:
    """Remove the folders of dead processes of this user."""
    for path in parent.glob(f"{prefix}*"):
        try:
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            if not (path / _LOCK).exists():
                if clock.now() - status.st_mtime > _MAKING_S:
                    shutil.rmtree(path, ignore_errors=True)
                continue
            descriptor = _locked(path / _LOCK)
        except OSError:
            continue  # somebody else has removed it
        if descriptor >= 0:
            shutil.rmtree(path, ignore_errors=True)
            os.close(descriptor)
