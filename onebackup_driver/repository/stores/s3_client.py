# SPDX-License-Identifier: Apache-2.0
"""How boto3 is spoken to: time-outs and retries, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, TypeVar

from onebackup_driver import clock
from onebackup_driver.repository import problems
from onebackup_driver.s3_access import Access

_Result = TypeVar("_Result")
#: Each request is tried so often, with a back-off that doubles.
ATTEMPTS = 6
_CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
#: Objects in one page of a listing.
PAGE = 1000
_GONE = ("404", "NoSuchKey", "NotFound", "NoSuchUpload")
_EXISTS = ("412", "PreconditionFailed")
#: Two conditional puts at once: this one was not judged at all.
_CONFLICT = ("409", "ConditionalRequestConflict", "OperationAborted")


class Exists(Exception):
    """There is an object with this name already."""


class Conflict(Exception):
    """Another request to the same object was under way: try again."""


class BrokeOff(Exception):
    """An answer ended before its end."""


@contextmanager
def translated(place: str, name: str) -> Iterator[None]:
    """What boto3 raises inside becomes Missing, Exists, Conflict or StoreFailed, naming place and object."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in _GONE:
            raise problems.Missing(name) from error
        if code in _EXISTS:
            raise Exists from error
        if code in _CONFLICT:
            raise Conflict from error
        raise failed(place, name, error) from error
    except (BotoCoreError, OSError, ValueError) as error:  # ValueError: an answer that cannot be read
        raise failed(place, name, error) from error


def failed(place: str, name: str, error: BaseException) -> problems.StoreFailed:
    """What went wrong, where, in one line."""
    return problems.StoreFailed(f"{place}: {name}: {' '.join(str(error).split())[:200]}")


def again(place: str, name: str, attempt: Callable[[], _Result]) -> _Result:
    """Do what boto3 does not try again by itself: after an answer that broke off, and after a conflict."""
    for number in range(ATTEMPTS - 1):
        try:
            return attempt()
        except (BrokeOff, Conflict):
            clock.sleep(0.05 * 2**number)
    try:
        return attempt()
    except (BrokeOff, Conflict) as error:
        raise failed(place, name, error if str(error) else OSError("others write it all the time")) from error


def connect(access: Access, connections: int) -> Any:
    """A client that uses up to so many connections at once.

    It never asks to be told to go on (`Expect: 100-continue`, RFC 9110 10.1.1): bodies are small enough to send twice,
    the question costs a round trip, and botocore never ends where a server is lost within its answer.
    """
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=access.endpoint or None,
        region_name=access.region,
        aws_access_key_id=access.key_id,
        aws_secret_access_key=access.secret,
        config=Config(
            signature_version=access.signature,
            s3={"addressing_style": "path" if access.path_style else "auto"},
            max_pool_connections=connections,
            retries={"max_attempts": ATTEMPTS, "mode": "standard"},
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client.meta.events.register_last("before-call.s3", _without_expectation)
    return client


def _without_expectation(params: dict[str, Any], **_: object) -> None:
    params["headers"].pop("Expect", None)
