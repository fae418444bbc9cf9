# SPDX-License-Identifier: Apache-2.0
"""JSON that may be anything: whatever is wrong with it is a ValueError, and numbers have limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Union

LIMIT_BYTES = 64 * 1024 * 1024
_LARGEST = 2**63
_LONGEST_NUMBER = 40


def parse(content: Union[str, bytes], limit_bytes: int = LIMIT_BYTES) -> Any:
    """The value. Raises ValueError: also for what is too large, nested too deep, or holds a number that is none."""
    if len(content) > limit_bytes:
        raise ValueError(f"it is larger than {limit_bytes} bytes")
    try:
        return json.loads(content, parse_constant=_no_number, parse_int=_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read(path: Path, limit_bytes: int = LIMIT_BYTES) -> Any:
    """The value in a file. Raises OSError, ValueError."""
    with open(path, "rb") as stream:
        return parse(stream.read(limit_bytes + 1), limit_bytes)


def whole(value: Any) -> int:
    """A whole number of at most 64 bits. Raises ValueError."""
    if type(value) is not int or not -_LARGEST <= value < _LARGEST:
        raise ValueError(f"{str(value)[:40]!r} is not a whole number")
    return value


def _number(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("it holds an endless number")
    return int(text)


def _no_number(text: str) -> Any:
    raise ValueError(f"it holds {text}")
