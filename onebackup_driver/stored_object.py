# SPDX-License-Identifier: Apache-2.0
"""What an S3 marketplace really stored, fetched with the marketplace's own credentials."""

from __future__ import annotations

import configparser
import hashlib
from typing import Any

from onebackup_driver import clock, errors
from onebackup_driver.s3_access import Access
from onebackup_driver.stored_file import Stored

_PIECE_BYTES = 1024 * 1024
_STALL_TIMEOUT_S = 60


def site_credentials(path: str, marketplace_id: int) -> tuple[str, str]:
    """Key id and secret from a file in the form of ~/.aws/credentials, section [<marketplace id>] or [default].

    Two empty texts when no file is configured. Raises UsageError when it cannot be read.
    """
    if not path:
        return "", ""
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        with open(path, encoding="utf-8") as stream:
            parser.read_file(stream)
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not in the form of ~/.aws/credentials"
        raise errors.UsageError(f"cannot read s3_credentials_file {path} ({reason})") from error
    for section in (str(marketplace_id), "default"):
        if parser.has_section(section):
            values = parser[section]
            return values.get("aws_access_key_id", ""), values.get("aws_secret_access_key", "")
    return "", ""


def fetch(access: Access, bucket: str, key: str, with_checksum: bool, timeout_s: float) -> Stored:
    """Fetch an object (`with_checksum`) or ask for its length. Raises Failed when it cannot be had to its end."""
    from botocore.exceptions import BotoCoreError, ClientError

    where = f"s3://{bucket}/{key}"
    try:
        client = _client(access)
        if not with_checksum:
            return Stored(int(client.head_object(Bucket=bucket, Key=key)["ContentLength"]), None)
        return _read(client.get_object(Bucket=bucket, Key=key), where, timeout_s)
    except (BotoCoreError, ClientError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise errors.Failed(f"cannot fetch what the marketplace stored at {where}: {reason}") from error


def check_bucket(access: Access, bucket: str) -> None:
    """Ask whether the bucket is there and may be used with these keys. Raises Failed."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        _client(access).head_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise errors.Failed(f"the bucket {bucket!r} does not answer: {reason}") from error


def _read(answer: dict[str, Any], where: str, timeout_s: float) -> Stored:
    digest, length, deadline = hashlib.md5(), 0, clock.monotonic() + timeout_s
    for piece in answer["Body"].iter_chunks(_PIECE_BYTES):
        length += len(piece)
        digest.update(piece)
        if clock.monotonic() > deadline:
            raise errors.TimedOut(f"fetching {where} took longer than {timeout_s:g} s")
    if length != answer["ContentLength"]:
        raise errors.Failed(f"{where} broke off after {length} of {answer['ContentLength']} bytes")
    return Stored(length, digest.hexdigest())


def _client(access: Access) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=access.endpoint or None,
        region_name=access.region or None,
        aws_access_key_id=access.key_id,
        aws_secret_access_key=access.secret,
        config=Config(
            signature_version=access.signature,
            connect_timeout=10,
            read_timeout=_STALL_TIMEOUT_S,
            retries={"max_attempts": 4, "mode": "standard"},
            s3={"addressing_style": "path" if access.path_style else "auto"},
        ),
    )
