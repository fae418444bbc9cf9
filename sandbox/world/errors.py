# SPDX-License-Identifier: Apache-2.0
"""The one failure that drivers report."""
from __future__ import annotations


class DriverFailed(Exception):
    """A driver failed. `message` is what oned stores or logs (without its time stamp)."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
