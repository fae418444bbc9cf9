# SPDX-License-Identifier: Apache-2.0
"""Where a repository is: `dir:/path` or `s3://bucket/prefix`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Optional

from onebackup_driver import errors
from onebackup_driver.repository.stores import base

if TYPE_CHECKING:
    from onebackup_driver.s3_access import Access

OPTIONS = (
    "ENDPOINT", "REGION", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "CREDENTIALS_FILE", "SIGNATURE_VERSION",
    "FORCE_PATH_STYLE", "QUOTA_MB", "CACHE",
)  # fmt: skip
_REGION = "us-east-1"


class Location(NamedTuple):
    """A place; `path` for a directory, `bucket`, `prefix` and `access` for S3."""

    kind: str
    path: Path = Path()
    bucket: str = ""
    prefix: str = ""
    access: Optional[Access] = None
    quota_mb: Optional[int] = None
    cache: Optional[Path] = None

    def __str__(self) -> str:
        return f"dir:{self.path}" if self.kind == "dir" else f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def open_store(self) -> base.Store:
        """The store at this place; nothing is asked of it yet."""
        if self.kind == "dir":
            from onebackup_driver.repository.stores import directory

            return directory.DirectoryStore(self.path)
        from onebackup_driver.repository.stores import s3

        assert self.access is not None
        return s3.S3Store(self.access, self.bucket, self.prefix, self.quota_mb, self.cache)


def parse(text: str, options: Optional[Mapping[str, str]] = None) -> Location:
    """Read a place and its options (the names in OPTIONS; empty values are as good as none). Raises UsageError.

    CREDENTIALS_FILE: in the form of ~/.aws/credentials, section [default]. QUOTA_MB: what counts as full on S3.
    CACHE: a directory for copies of indexes (S3 only; default: $XDG_CACHE_HOME/onebackup).
    """
    given = {name: value.strip() for name, value in (options or {}).items() if value.strip()}
    unknown = sorted(set(given) - set(OPTIONS))
    if unknown:
        raise errors.UsageError(f"unknown option of a repository: {', '.join(unknown)}")
    if text.startswith("dir:"):
        path = Path(text[4:])
        if not path.is_absolute():
            raise errors.UsageError(f"{text!r}: dir: is followed by an absolute path")
        return Location("dir", path=path)
    if text.startswith("s3://"):
        return _parse_s3(text, given)
    raise errors.UsageError(f"{text!r} is neither dir:/path nor s3://bucket/prefix")


def _parse_s3(text: str, given: dict[str, str]) -> Location:
    bucket, _, prefix = text[5:].partition("/")
    if not bucket:
        raise errors.UsageError(f"{text!r} names no bucket")
    cache = Path(given["CACHE"]) if "CACHE" in given else None
    prefix = "/".join(part for part in prefix.split("/") if part)
    return Location(
        "s3", bucket=bucket, prefix=prefix, access=_access(given), quota_mb=_quota(given.get("QUOTA_MB")), cache=cache
    )


def _quota(text: Optional[str]) -> Optional[int]:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise errors.UsageError(f"QUOTA_MB={text[:40]!r} is no number of MiB")
    return int(text)


def _access(given: dict[str, str]) -> Access:
    from onebackup_driver.s3_access import Access

    key_id, secret = given.get("ACCESS_KEY_ID", ""), given.get("SECRET_ACCESS_KEY", "")
    if not key_id and "CREDENTIALS_FILE" in given:
        from onebackup_driver import stored_object

        key_id, secret = stored_object.site_credentials(given["CREDENTIALS_FILE"], -1)
    if not key_id or not secret:
        raise errors.UsageError("an S3 repository needs CREDENTIALS_FILE, or ACCESS_KEY_ID and SECRET_ACCESS_KEY")
    return Access(
        endpoint=given.get("ENDPOINT", ""),
        region=given.get("REGION", _REGION),
        signature=given.get("SIGNATURE_VERSION", "s3v4"),
        path_style=given.get("FORCE_PATH_STYLE", "yes" if given.get("ENDPOINT") else "no").lower() in ("yes", "true"),
        key_id=key_id,
        secret=secret,
    )
