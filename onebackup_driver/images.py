# SPDX-License-Identifier: Apache-2.0
"""The image apps of a restore point become images in a datastore, and are checked."""

from __future__ import annotations

from typing import Optional

from lxml import etree

from onebackup_driver import cloud, errors, names, states, stored_file, template_text, waiting, xml_values
from onebackup_driver.context import Context
from onebackup_driver.source import Source, SourceDisk
from onebackup_driver.xml_values import Attribute


def datastore(context: Context, wanted: str) -> int:
    """The id of the image datastore called `wanted` (id or name). Raises Refused."""
    pool = context.front_end.element("one.datastorepool.info")
    for item in pool.findall("DATASTORE"):
        if wanted in (xml_values.text(item, "ID"), xml_values.text(item, "NAME")):
            if xml_values.number(item, "TYPE") != states.DATASTORE_TYPE_IMAGE:
                raise errors.Refused(f"datastore {wanted} does not hold images; see: onedatastore list")
            return xml_values.number(item, "ID")
    raise errors.Refused(f"there is no datastore {wanted!r} on this front-end; see: onedatastore list")


def make(context: Context, source: Source, datastore_id: int, name: str) -> list[int]:
    """Make one image per disk, wait until all are READY and check them; their ids in the order of the disks."""
    made = [
        _allocate(context, disk, datastore_id, names.disk(name, number)) for number, disk in enumerate(source.disks)
    ]
    for image_id, disk in zip(made, source.disks):
        _check(context, _await_ready(context, image_id, disk), disk)
    return made


def _allocate(context: Context, disk: SourceDisk, datastore_id: int, name: str) -> int:
    attributes: list[Attribute] = [("NAME", name), ("FROM_APP", str(disk.app.app_id)), ("TYPE", disk.image_type)]
    if disk.device_prefix:
        attributes.append(("DEV_PREFIX", disk.device_prefix))
    if disk.persistent:
        attributes.append(("PERSISTENT", "YES"))
    try:
        return cloud.create(
            context, "image", name, "one.image.allocate", template_text.render(attributes), datastore_id
        )
    except errors.CallRefused as error:
        raise errors.Failed(f"datastore {datastore_id} does not take app {disk.app.app_id}: {error}") from error


def _await_ready(context: Context, image_id: int, disk: SourceDisk) -> etree._Element:
    def look() -> Optional[etree._Element]:
        try:
            image = cloud.image(context, image_id)
        except errors.NoSuchObject as error:
            raise errors.Failed(f"image {image_id} was deleted by somebody else during its download") from error
        state = xml_values.number(image, "STATE")
        if state == states.IMAGE_ERROR:
            reason = xml_values.text(image, "TEMPLATE/ERROR") or "the front-end gives no reason"
            which = f" (disk {disk.disk_id})" if disk.disk_id >= 0 else ""
            what = f"app {disk.app.app_id}{which} could not be downloaded into image {image_id}"
            raise errors.Failed(f"{what}: {reason}; more is in /var/log/one/oned.log")
        return image if state == states.IMAGE_READY else None

    return waiting.until(
        look, context.timeouts.download_s, f"the download into image {image_id} did not end", 2.0, "download_s"
    )


def _check(context: Context, image: etree._Element, disk: SourceDisk) -> None:
    """Size always; the checksum where the datastore keeps the bytes as they came and this machine can read them."""
    image_id, size_mb = xml_values.number(image, "ID"), xml_values.number(image, "SIZE", 0)
    if size_mb < disk.app.size_mb:
        raise errors.Failed(f"image {image_id} has {size_mb} MB, app {disk.app.app_id} has {disk.app.size_mb} MB")
    path, same_format = xml_values.text(image, "SOURCE"), xml_values.text(image, "FORMAT") == disk.app.format
    md5 = stored_file.local_md5(path) if same_format and context.configuration.verify == "checksum" else None
    if md5 is None:
        context.log.info("Image %s: size checked, its bytes cannot be compared from here", image_id)
    elif md5 != disk.app.md5.lower():
        raise errors.Failed(
            f"image {image_id} came with MD5 {md5}, app {disk.app.app_id} was stored with {disk.app.md5}"
        )
    else:
        context.log.info("Verified image %s: MD5 %s", image_id, md5)
