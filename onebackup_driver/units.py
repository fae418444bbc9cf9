# SPDX-License-Identifier: Apache-2.0
"""Sizes and times in words."""

from __future__ import annotations

import time

MIB = 1024 * 1024


def size_in_words(size_mb: float) -> str:
    """`1536` (MiB) -> `1.5 GiB`."""
    for unit in ("MiB", "GiB", "TiB"):
        if size_mb < 1024 or unit == "TiB":
            return f"{size_mb:.0f} {unit}" if unit == "MiB" else f"{size_mb:.1f} {unit}"
        size_mb /= 1024
    raise AssertionError("unreachable")


def duration_in_words(seconds: float) -> str:
    """`4.23` -> `4.2 s`; `3700` -> `1 h 1 min`; `7200` -> `2 h`."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    seconds = max(seconds, 60)
    minutes = int(seconds // 60)
    if minutes < 60:
        return _both(minutes, "min", int(seconds % 60), "s")
    if minutes < 48 * 60:
        return _both(minutes // 60, "h", minutes % 60, "min")
    return _both(minutes // (24 * 60), "d", minutes // 60 % 24, "h")


def _both(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large} {unit} {small} {small_unit}" if small else f"{large} {unit}"


def counted(count: int, noun: str) -> str:
    """`1`, `pack` -> `1 pack`; `2`, `pack` -> `2 packs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def local_time(seconds: int) -> str:
    """`1795401518` -> `2026-11-23 02:38:38`, in the local time zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return f"second {seconds}"  # somebody's number, beyond every calendar


def compact_time(seconds: int) -> str:
    """`1795401518` -> `20261123_023838`, for names."""
    return time.strftime("%Y%m%d_%H%M%S", time.localtime(seconds))
