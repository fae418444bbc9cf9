# SPDX-License-Identifier: Apache-2.0
"""How boto3 is spoken to: time-outs and retries, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from onebackup_driver.repository import problems
from onebackup_driver.s3_access import Access

#: Each request is tried so often, with a back-off that doubles.
ATTEMPTS = 6
_CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
#: Objects in one page of a listing.
PAGE = 1000
_GONE = ("404", "NoSuchKey", "NotFound")
_EXISTS = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")


class Exists(Exception):
    """There is an object with this name already."""


class BrokeOff(Exception):
    """An answer ended before its end."""


@contextmanager
def translated(name: str) -> Iterator[None]:
    """What boto3 raises inside becomes Missing, Exists or StoreFailed, naming `name`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in _GONE:
            raise problems.Missing(name) from error
        if code in _EXISTS:
            raise Exists from error
        raise problems.StoreFailed(f"{name}: {' '.join(str(error).split())[:200]}") from error
    except (BotoCoreError, OSError) as error:
        raise problems.StoreFailed(f"{name}: {' '.join(str(error).split())[:200]}") from error


def connect(access: Access, connections: int) -> Any:
    """A client that uses up to so many connections at once."""
    import boto3
    from botocore.config import Config

    return boto3.client(
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
