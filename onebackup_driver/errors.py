# SPDX-License-Identifier: Apache-2.0
"""Errors a person can act on, each with the exit code that docs/operations.md explains.

An expected error ends as one line on stderr. Anything else is a bug and ends as a traceback with exit code 70.
"""

from __future__ import annotations

from typing import Optional

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_ATTENTION = 4
EXIT_BUG = 70


class Error(Exception):
    """An expected failure; `str(error)` is the line for the admin."""

    exit_code = EXIT_FAILED


def in_words(error: BaseException) -> str:
    """The error without what only a programmer wants to see."""
    if isinstance(error, NeedsAttention):
        return error.what
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


class UsageError(Error):
    """The command line or the configuration file is wrong."""

    exit_code = EXIT_USAGE


class Refused(Error):
    """Nothing was touched: the request cannot be carried out as things are."""

    exit_code = EXIT_REFUSED


class Failed(Error):
    """A run broke off; everything it had changed was undone and nothing older was lost."""

    exit_code = EXIT_FAILED


class NeedsAttention(Error):
    """A run broke off and could not be undone wholly: `command` is what the admin should type."""

    exit_code = EXIT_ATTENTION

    def __init__(self, message: str, command: str):
        super().__init__(f"{message}; to put it right: {command}")
        self.what, self.command = message, command


class TimedOut(Failed):
    """Something that was waited for did not happen before its deadline."""


class FrontEndError(Error):
    """A call to the front-end did not bring a result."""

    exit_code = EXIT_REFUSED

    def __init__(self, method: str, message: str):
        super().__init__(message)
        self.method = method


class Unreachable(FrontEndError):
    """The front-end could not be reached: the call was certainly not executed."""


class OutcomeUnknown(FrontEndError):
    """The call was sent and no answer came back: it may or may not have been executed."""

    exit_code = EXIT_FAILED


class CallRefused(FrontEndError):
    """The front-end answered with an error (`code` as in OpenNebula's include/Request.h ErrorCode)."""

    def __init__(self, method: str, message: str, code: int, object_id: Optional[int] = None):
        super().__init__(method, message)
        self.code = code
        self.object_id = object_id


class AuthenticationFailed(CallRefused):
    """Code 256: the session is wrong."""


class NotAuthorized(CallRefused):
    """Code 512: not allowed, or the object is locked."""


class NoSuchObject(CallRefused):
    """Code 1024: there is no object with this id."""


class Terminated(BaseException):
    """SIGTERM, SIGINT or SIGHUP arrived. Not an Exception: no handler on the way may swallow it."""

    def __init__(self, signal_number: int):
        super().__init__(f"ended by signal {signal_number}")
        self.signal_number = signal_number
        #: What was undone and how things are now, in words, where something was under way.
        self.undone = "nothing was under way that needed undoing"
