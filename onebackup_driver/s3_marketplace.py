# SPDX-License-Identifier: Apache-2.0
"""What the template of a stock `s3` marketplace says (OpenNebula's src/market_mad/remotes/s3)."""

from __future__ import annotations

from typing import Optional

from onebackup_driver import errors
from onebackup_driver.app import Marketplace
from onebackup_driver.s3_access import Access
from onebackup_driver.vm import Disk

#: S3 allows this many parts of an object; the driver's part is 32 MiB.
_PARTS = 10_000
_PART_MB = 32
_SIGNATURES = {"v2": "s3", "s3": "s3"}


def access(marketplace: Marketplace, key_id: str = "", secret: str = "") -> Access:
    """The access that the template describes; the site's own keys win. Raises Refused when there are none."""
    template = marketplace.attributes
    key_id = key_id or template.get("ACCESS_KEY_ID", "")
    secret = secret or template.get("SECRET_ACCESS_KEY", "")
    if not key_id or not secret:
        raise errors.Refused(
            f"marketplace {marketplace.marketplace_id} ({marketplace.name}) has no readable ACCESS_KEY_ID and"
            " SECRET_ACCESS_KEY; put them into the file that s3_credentials_file in onebackup.yaml names"
        )
    return Access(
        endpoint=template.get("ENDPOINT", ""),
        region=template.get("REGION", ""),
        signature=_SIGNATURES.get(template.get("SIGNATURE_VERSION", "").lower(), "s3v4"),
        path_style=template.get("FORCE_PATH_STYLE", "").lower() == "yes" or bool(template.get("ENDPOINT")),
        key_id=key_id,
        secret=secret,
    )


def check_sizes(marketplace: Marketplace, disks: tuple[Disk, ...]) -> None:
    """Raise Refused when a disk is larger than the stock driver can upload.

    READ_LENGTH does not help: the driver looks for it under a misspelt name (src/market_mad/remotes/s3/import).
    """
    for disk in disks:
        if disk.size_mb > _PART_MB * _PARTS:
            raise errors.Refused(
                f"disk {disk.disk_id} has {disk.size_mb} MB; the s3 driver of marketplace {marketplace.marketplace_id}"
                f" uploads at most {_PART_MB * _PARTS} MB ({_PARTS} parts of {_PART_MB} MB): use another marketplace"
            )


def bucket_and_key(source: str) -> Optional[tuple[str, str]]:
    """`s3://bucket/key` -> its parts; None for another kind of source."""
    scheme, _, rest = source.partition("://")
    bucket, _, key = rest.partition("/")
    return (bucket, key) if scheme.lower() == "s3" and bucket and key else None
