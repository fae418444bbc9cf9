# SPDX-License-Identifier: Apache-2.0
"""Small files that are either wholly there or not at all, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from onebackup_driver import clock


def make_private_directory(path: Path) -> None:
    """Create the directory and those of its parents that are not there, all of them with mode 0700."""
    try:
        path.mkdir(exist_ok=True, mode=0o700)
    except FileNotFoundError:
        make_private_directory(path.parent)
        path.mkdir(exist_ok=True, mode=0o700)


def append(path: Path) -> IO[bytes]:
    """A file to write on at its end; a new one is for its owner only. Raises OSError."""
    return open(path, "ab", opener=lambda name, flags: os.open(name, flags | os.O_CLOEXEC, 0o600))


def write(path: Path, content: bytes) -> None:
    """Replace `path` atomically and durably: temporary file, fsync, rename, fsync of the directory; mode 0600.

    Raises OSError whose `strerror` names the file.
    """
    import tempfile

    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        _fill(descriptor, name, path, content)
        sync_directory(path.parent)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error


def write_new(path: Path, content: bytes) -> None:
    """Like `write`, but a file that is there already stays as it is: the first of several writers wins."""
    import tempfile

    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        _fill(descriptor, name, Path(f"{name}.whole"), content)
        try:
            os.link(f"{name}.whole", path)
        except FileExistsError:
            pass
        finally:
            os.unlink(f"{name}.whole")
        sync_directory(path.parent)
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error


def _fill(descriptor: int, name: str, path: Path, content: bytes) -> None:
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        try:
            os.unlink(name)
        except OSError:
            pass  # the first error is the one to report
        raise


def remove_stale(directory: Path, older_than_s: float) -> None:
    """Remove the temporary files that killed writers left in the directory."""
    limit = clock.now() - older_than_s
    for path in directory.glob(".*.*"):
        try:
            if path.is_file() and path.stat().st_mtime < limit:
                path.unlink()
        except OSError:
            pass  # its writer has just finished, or somebody else was first


def sync_directory(path: Path) -> None:
    """Make renames and deletions in the directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
