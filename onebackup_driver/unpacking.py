# SPDX-License-Identifier: Apache-2.0
"""A raw disk that begins like a packed file: stock marketplaces give it back only to datastores that unpack nothing.

The bytes are stored as they are; it is the download of a restore that unpacks them (disguises.py).
"""

from __future__ import annotations

from lxml import etree

from onebackup_driver import disguises, errors, repositories, stored_file, xml_values
from onebackup_driver.app import Marketplace
from onebackup_driver.context import Context
from onebackup_driver.source import Source
from onebackup_driver.vm import Disk
from onebackup_driver.xml_values import Vector

_TAG = "LOOKS_LIKE"


def noticed(context: Context, image: etree._Element, disk: Disk, marketplace: Marketplace) -> Vector:
    """What to note on the app of a saved image; empty when nothing would be unpacked, or when our driver wraps it."""
    if marketplace.driver == repositories.DRIVER or xml_values.text(image, "FORMAT") != "raw":
        return {}
    head = stored_file.local_head(xml_values.text(image, "SOURCE"), disguises.HEAD_BYTES)
    kind = disguises.packed(head or b"")
    if not kind:
        return {}
    context.log.warning(
        "Disk %s begins like a %s file: it can be restored only into a datastore with NO_DECOMPRESS=YES",
        disk.disk_id,
        kind,
    )
    return {_TAG: kind}


def check(context: Context, source: Source, datastore_id: int) -> None:
    """Raises Refused when OpenNebula would unpack a disk on its way into this datastore."""
    looks = {disk.app.app_id: disk.app.tags[_TAG] for disk in source.disks if disk.app.tags.get(_TAG)}
    if not looks:
        return
    element = context.front_end.element("one.datastore.info", datastore_id)
    if xml_values.text(element, "TEMPLATE/NO_DECOMPRESS").lower() == "yes":
        return
    app_id, kind = next(iter(looks.items()))
    raise errors.Refused(
        f"app {app_id} is a disk that begins like a {kind} file, and OpenNebula would unpack it on its way into"
        f" datastore {datastore_id}; name another with -d, or set there (onedatastore update {datastore_id}):"
        ' NO_DECOMPRESS="YES"'
    )
