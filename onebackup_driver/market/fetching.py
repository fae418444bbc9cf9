# SPDX-License-Identifier: Apache-2.0
"""The image that an import is about, as a file of this machine."""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onebackup_driver import commands, errors, files, scratch, xml_values
from onebackup_driver.market import payload
from onebackup_driver.market.site import Site
from onebackup_driver.market.storing import Image
from onebackup_driver.repository import problems

_DISPOSAL_TIMEOUT_S = 600.0
#: Never an option of the downloader.
_PLACE = re.compile(r"(/|[a-z][a-z0-9+.-]*://)[^\x00-\x1f\x7f]*")


@contextmanager
def local(site: Site, request: payload.Request) -> Iterator[Image]:
    """A local image as it is; anything else (ssh://host:path, rbd://…) is brought by OpenNebula's downloader.sh.

    Raises Failed when it cannot be had whole, UsageError for what cannot be understood.
    """
    place, image_format = request.source.place, _format(request)
    if not _PLACE.fullmatch(place):
        raise payload.Unusable(f"IMPORT_SOURCE is neither a path nor a URL: {place[:100]}")
    if place.startswith("/"):
        path = Path(place)
        _check_kind(path)
        yield Image(path, image_format, request.source.size_mb)
        return
    if not site.downloader.is_file():
        raise errors.Failed(f"{place} is not on this machine, and there is no {site.downloader} to bring it")
    temporary = site.where.state / "tmp"
    files.make_private_directory(temporary)
    with scratch.Folder("onebackup-import-", temporary) as folder:
        path = folder / "image"
        _download(site.downloader, place, path, site.rules.timeouts.upload_s)
        yield Image(path, image_format, request.source.size_mb)


def dispose(request: payload.Request) -> str:
    """Run DISPOSE_CMD, if export wanted that; what went wrong, in words."""
    try:
        words = shlex.split(request.source.disposal)
        if not words:
            return ""
        done = commands.run(words, _DISPOSAL_TIMEOUT_S)
    except (errors.Failed, ValueError) as error:
        return f"{request.source.place} could not be disposed of: {error}"
    if done.code == 0:
        return ""
    return f"{request.source.place} could not be disposed of: {done.last_words or f'exit code {done.code}'}"


def _format(request: payload.Request) -> str:
    """What oned knows of the image. Without it what export says, which is qemu-img's guess from the first bytes: of a
    raw disk a guest has written them."""
    known = request.image
    image_format = (xml_values.text(known, "FORMAT") if known is not None else "") or request.source.format
    image_format = image_format.lower()
    if not image_format.isalnum():
        raise payload.Unusable("the datastore's export did not say which FORMAT the image has")
    return image_format


def _check_kind(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise problems.SourceChanged(f"cannot read {path}: {error.strerror}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise problems.SourceChanged(f"{path} is neither a file nor a block device")


def _download(downloader: Path, place: str, path: Path, timeout_s: float) -> None:
    done = commands.run([str(downloader), "--nodecomp", place, str(path)], timeout_s)
    if done.code != 0:
        raise errors.Failed(f"{place} could not be brought: {done.last_words or f'exit code {done.code}'}")
    if not path.is_file():
        raise errors.Failed(f"{place} could not be brought: {downloader} left no file")
