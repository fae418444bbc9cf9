# SPDX-License-Identifier: Apache-2.0
"""Small file systems for one case: nearly full, read-only, or gone in the middle."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path


class NotPermitted(Exception):
    """Nobody but root may mount, and not in every container."""


@lru_cache(maxsize=1)
def permitted(directory: Path) -> bool:
    """Whether we may mount at all."""
    try:
        with tmpfs(directory / "may-we", "size=64k"):
            return True
    except NotPermitted:
        return False


@contextmanager
def tmpfs(where: Path, options: str) -> Iterator[None]:
    where.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", options, "onebackup-faults", str(where))
    try:
        yield
    finally:
        unmount(where)


@contextmanager
def bound(source: Path, where: Path) -> Iterator[None]:
    """`source` shows at `where`, until `unmount`."""
    where.mkdir(parents=True, exist_ok=True)
    _mount("--bind", str(source), str(where))
    try:
        yield
    finally:
        unmount(where)


def read_only(where: Path, on: bool) -> None:
    _mount("-o", f"remount,{'ro' if on else 'rw'}", str(where))


def unmount(where: Path) -> None:
    """Also when it is in use, and when it is no mount any more."""
    while os.path.ismount(where) or _is_bound(where):
        subprocess.run(["umount", "-l", str(where)], check=True, capture_output=True)


def _is_bound(where: Path) -> bool:
    return f" {where} " in Path("/proc/self/mountinfo").read_text()


def _mount(*arguments: str) -> None:
    try:
        subprocess.run(["mount", *arguments], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotPermitted(str(error)) from error
