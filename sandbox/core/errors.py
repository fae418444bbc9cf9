# SPDX-License-Identifier: Apache-2.0
"""The errors that an OpenNebula call answers with: code, message, object id."""

from __future__ import annotations

AUTHENTICATION = 256
AUTHORIZATION = 512
NO_EXISTS = 1024
ACTION = 2048
RPC_API = 4096
INTERNAL = 8192
ALLOCATE = 16384


class CallError(Exception):
    """A refused call: the five values that go over the wire (message without the `[method]` prefix)."""

    def __init__(self, code: int, message: str, object_id: int = -1) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.object_id = object_id


class Fault(Exception):
    """An XML-RPC fault (the call never reached a method)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def no_exists(what: str, object_id: int) -> CallError:
    """`what` is OpenNebula's long name of the kind, e.g. "virtual machine"."""
    return CallError(NO_EXISTS, f"Error getting {what} [{object_id}].", object_id)


def action(message: str, object_id: int = -1) -> CallError:
    return CallError(ACTION, message, object_id)


def internal(message: str, object_id: int = -1) -> CallError:
    return CallError(INTERNAL, message, object_id)
