# SPDX-License-Identifier: Apache-2.0
"""The rules for object names: characters, length, uniqueness."""

from __future__ import annotations

from typing import Optional

from sandbox.core import errors
from sandbox.core.kinds import KINDS

REFUSED = "&|:\\\";/'#{}$<>"
MAX_BYTES = 128


def problem(name: str, extra: str = "") -> Optional[str]:
    """What oned says about an unusable name, or None."""
    if not name:
        return "Invalid NAME, it cannot be empty"
    for character in name:
        if character in REFUSED + extra:
            return f"Invalid NAME, char '{character}' is not allowed"
    if len(name.encode()) > MAX_BYTES:
        return "Invalid NAME, max length is 128 chars"
    return None


def taken(kind: str, object_id: int) -> str:
    definition = KINDS[kind]
    stop = "." if definition.full_stop else ""
    return f"NAME is already taken by {definition.right_name} {object_id}{stop}"


def allocation_error(kind: str, message: str, modern: bool) -> errors.CallError:
    """How a refused creation is answered: 6.x says the bare reason (8192), 7.x wraps it (16384)."""
    if modern:
        text = f"Error allocating a new {KINDS[kind].long_name}. {message}"
        return errors.CallError(errors.ALLOCATE, text)
    return errors.internal(message)
