# SPDX-License-Identifier: Apache-2.0
"""Is what the marketplace stored what was saved?"""

from __future__ import annotations

from typing import Optional

from lxml import etree

from onebackup_driver import errors, repositories, s3_marketplace, states, stored_file, stored_object, xml_values
from onebackup_driver.app import App, Marketplace
from onebackup_driver.context import Context
from onebackup_driver.s3_access import Access
from onebackup_driver.stored_file import Stored


def stored(context: Context, app: App, image: etree._Element, marketplace: Marketplace) -> None:
    """Compare an uploaded app with the image it was made from. Raises Failed saying what differs.

    Every marketplace: state, size, checksum and format. An http(s) or s3 one: the stored file is fetched from where a
    restore would fetch it, and its length and (verify: checksum) MD5 are compared. Our own: what it serves is not the
    image's file but made of its content, with the MD5 that the driver found when it read all of it back.
    """
    what = f"app {app.app_id} (disk {app.tags.get('DISK_ID', '?')}) in marketplace {app.marketplace_id}"
    if app.state != states.APP_READY:
        raise errors.Failed(f"{what} is {states.app(app.state)}")
    missing = [name for name, value in (("SOURCE", app.source), ("MD5", app.md5), ("FORMAT", app.format)) if not value]
    if missing:
        raise errors.Failed(f"the marketplace driver left {', '.join(missing)} of {what} empty")
    size_mb = xml_values.number(image, "SIZE", 0)
    if not _is_size_of(app, size_mb, marketplace):
        raise errors.Failed(f"{what} has {app.size_mb} MB, the saved disk has {size_mb} MB")
    image_format = xml_values.text(image, "FORMAT")
    if image_format and app.format != image_format and not _is_wrapped(app, image_format, marketplace):
        raise errors.Failed(
            f"{what} is taken for {app.format}, the saved disk is {image_format}: its guest wrote a disk that begins"
            f" like {app.format}, which only a marketplace of onebackup's own driver can give back"
        )
    _compare(context, app, marketplace, xml_values.text(image, "SOURCE"), what)


def _is_size_of(app: App, size_mb: int, marketplace: Marketplace) -> bool:
    if marketplace.driver == repositories.DRIVER:  # it tells the true size: LVM rounds up what oned asked for
        return app.size_mb >= max(size_mb, 1)
    return app.size_mb == size_mb and size_mb > 0


def _is_wrapped(app: App, image_format: str, marketplace: Marketplace) -> bool:
    """Our driver serves as qcow2 what OpenNebula would unpack or misread as raw (disguises.py)."""
    return marketplace.driver == repositories.DRIVER and (image_format, app.format) == ("raw", "qcow2")


def _compare(context: Context, app: App, marketplace: Marketplace, image_path: str, what: str) -> None:
    if marketplace.driver == repositories.DRIVER and context.configuration.verify != "checksum":
        stored_file.check_offered(app.source)
        return
    length = None if marketplace.driver == repositories.DRIVER else stored_file.local_length(image_path)
    with_checksum = context.configuration.verify == "checksum" or length is None
    try:
        found = _fetch(context, app, marketplace, with_checksum)
    except errors.Failed as error:
        raise errors.Failed(f"{what} cannot be verified: {error}") from error
    if found is None:
        return
    if length is not None and found.length != length:
        raise errors.Failed(f"{what}: the marketplace holds {found.length} bytes, the saved disk has {length}")
    if found.md5 is not None and found.md5 != app.md5.lower():
        raise errors.Failed(f"{what}: the marketplace holds bytes with MD5 {found.md5}, saved was {app.md5}")


def _fetch(context: Context, app: App, marketplace: Marketplace, with_checksum: bool) -> Optional[Stored]:
    """What is stored; None where it cannot be fetched by us (another marketplace driver checks for itself)."""
    timeout_s = context.timeouts.download_s
    if app.source.lower().startswith(("http://", "https://")):
        # our gateway's certificate may be the site's own, and the driver found the MD5 before anything was sent
        return stored_file.fetch(app.source, with_checksum, timeout_s, marketplace.driver != repositories.DRIVER)
    place = s3_marketplace.bucket_and_key(app.source)
    if place is None:
        return None
    return stored_object.fetch(s3_access(context, marketplace), *place, with_checksum, timeout_s)


def s3_access(context: Context, marketplace: Marketplace) -> Access:
    """Access to an s3 marketplace's bucket. Raises Refused or UsageError when there are no credentials."""
    path = context.configuration.s3_credentials_file
    return s3_marketplace.access(marketplace, *stored_object.site_credentials(path, marketplace.marketplace_id))
