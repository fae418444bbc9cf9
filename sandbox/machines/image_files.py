# SPDX-License-Identifier: Apache-2.0
"""The files of images: copied, downloaded, made or deleted on threads, with the image's states around it."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Callable, Optional

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.objects import images
from sandbox.world import datastore_drivers, disks
from sandbox.world.errors import DriverFailed


def new_source(front: Front, image: Record) -> Path:
    """A new file name in the image's datastore, as oned's drivers make it (an MD5)."""
    digest = hashlib.md5(f"{time.time_ns()}:{image.id}".encode(), usedforsecurity=False).hexdigest()
    datastore = front.get("datastore", image["datastore_id"])
    return Path(datastore["base_path"]) / digest


def register(front: Front, image: Record, market: Optional[Record]) -> None:
    """Starts what brings the image's file to its datastore; the image is LOCKED until then."""
    if image["source"]:
        _taken_as_it_is(front, image)
        return
    destination = new_source(front, image)
    datastore = front.get("datastore", image["datastore_id"])
    attributes = _attributes(datastore)
    if not image["path"]:
        size, format = image["size"], image["format"]
        _start(front, image, destination, "download", "Error creating datablock",
               lambda: _created(destination, size, format))
        return
    market_attributes = _attributes(market) if market is not None else {}
    image_attributes = {**_attributes(image), "TYPE": str(image["type"])}
    path, location = image["path"], front.settings.state
    _start(front, image, destination, "download", "Error copying image in the datastore", lambda: _downloaded(
        path, destination, attributes, market_attributes, image_attributes, front.settings.version, location))


def _taken_as_it_is(front: Front, image: Record) -> None:
    source = Path(image["source"])
    image["format"] = disks.information(source).format if source.is_file() else "raw"
    images.unlock(front, image)


def _attributes(record: Record) -> dict[str, str]:
    return {name: value for name, value in record.template.items if isinstance(value, str)}


def _created(destination: Path, size_mb: int, format: str) -> str:
    try:
        disks.create(destination, size_mb, format)
    except disks.DiskError as error:
        raise DriverFailed(f"Error creating datablock: {error}") from None
    return format


def _downloaded(path: str, destination: Path, datastore: dict[str, str], market: dict[str, str],
                image: dict[str, str], version: str, location: Path) -> str:
    return datastore_drivers.download(path, destination, datastore=datastore, market=market, image=image,
                                      version=version, var_location=location).format


def copy(front: Front, image: Record, source: Record) -> None:
    """Starts the copy of a cloned image."""
    destination = new_source(front, image)
    origin, format = Path(source["source"]), source["format"]

    def work() -> str:
        try:
            disks.import_image(origin, destination, format)
        except (disks.DiskError, OSError) as error:
            raise DriverFailed(f"Error cloning from Image {image['cloning_id']}: {error}") from None
        return str(format)

    _start(front, image, destination, "download", f"Error cloning from Image {source.id}", work)


def _start(front: Front, image: Record, destination: Path, what: str, prefix: str, work: Callable[[], str]) -> None:
    front.spawn(f"image {image.id}", lambda: _run(front, image.id, destination, what, prefix, work))


def _run(front: Front, image_id: int, destination: Path, what: str, prefix: str, work: Callable[[], str]) -> None:
    front.wait(what)
    try:
        if front.faults.fails(what):
            raise DriverFailed(f"{prefix}: Failed on request")
        format = work()
    except (DriverFailed, disks.DiskError, OSError) as error:
        failed(front, image_id, str(error))
        return
    with front.transaction():
        image = front.find("image", image_id)
        if image is None or image["state"] == images.DELETE:
            destination.unlink(missing_ok=True)
            return
        image.fields.update(source=str(destination), format=format)
        _cloned(front, image)
        images.unlock(front, image)


def _cloned(front: Front, image: Record) -> None:
    if image["cloning_id"] != -1:
        images.release_clone(front, image["cloning_id"], image.id)
        image["cloning_id"] = -1


def failed(front: Front, image_id: int, message: str) -> None:
    """The image ends in ERROR with the driver's text."""
    logging.error("[ImM] %s", message)
    with front.transaction():
        image = front.find("image", image_id)
        if image is None:
            return
        _cloned(front, image)
        image.template.set_error(message)
        images.set_state(front, image, images.ERROR)


def delete(front: Front, image: Record) -> None:
    """Deletes the file on a thread; the record disappears with it."""
    front.spawn(f"delete image {image.id}", lambda: _delete(front, image.id))


def _delete(front: Front, image_id: int) -> None:
    front.wait("delete")
    with front.transaction():
        image = front.find("image", image_id)
        if image is None:
            return
        if image["source"]:
            source = Path(image["source"])
            for path in [source, *source.parent.glob(source.name + ".snap*")]:
                if path.is_file() or path.is_symlink():
                    path.unlink()
        front.drop(image)


def abandoned(front: Front) -> None:
    """After a restart: copies under way are lost, deletions are finished."""
    for image in front.all("image"):
        if image["state"] in (images.LOCKED, images.LOCKED_USED, images.LOCKED_USED_PERS):
            if image["saving"]:
                images.set_state(front, image, images.ERROR)
            else:
                failed(front, image.id, "Error copying image in the datastore: -")
        elif image["state"] == images.DELETE:
            delete(front, image)
