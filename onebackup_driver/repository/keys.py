# SPDX-License-Identifier: Apache-2.0
"""Key files: 32 random bytes, as text, readable by their owner only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from onebackup_driver import errors, files
from onebackup_driver.repository import problems
from onebackup_driver.repository.format.vault import KEY_BYTES

_MARK = "onebackup-key-1:"


def create(path: Path) -> bytes:
    """Make a new key file (mode 0600); never over one that is there. Raises AlreadyThere."""
    if path.exists():
        raise problems.AlreadyThere(f"{path} exists: a key is never overwritten")
    key = os.urandom(KEY_BYTES)
    files.write(path, (export(key) + "\n").encode())
    return key


def load(path: Path) -> bytes:
    """The key in a file. Raises UsageError when others may read it or it holds no key."""
    try:
        with open(path, encoding="ascii") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            text = stream.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise errors.UsageError(f"cannot read the key file {path} ({reason})") from error
    if mode & 0o077:
        raise errors.UsageError(f"{path} can be read by others (mode {mode:o}): chmod 600 {path}")
    return parse(text)


def export(key: bytes) -> str:
    """The key as one line that can be printed and put into a safe; four check digits at the end find typing errors."""
    return f"{_MARK}{key.hex()}-{_check(key)}"


def parse(text: str) -> bytes:
    """What export made. Raises UsageError."""
    body, _, check = text.removeprefix(_MARK).partition("-") if text.startswith(_MARK) else ("", "", "")
    try:
        key = bytes.fromhex(body)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES or check != _check(key):
        raise errors.UsageError(f"this is no key: it begins with {_MARK} and has 64 digits and 4 check digits")
    return key


def _check(key: bytes) -> str:
    from blake3 import blake3

    return blake3(key).hexdigest()[:4]
