# SPDX-License-Identifier: Apache-2.0
"""What the fs datastore driver does with image files: export, cp (with the downloader) and stat.

Attributes are plain mappings of an object's TEMPLATE; the texts of failures are those that the recorded
front-ends stored (recordings/*/xmlrpc/080-*.response.xml) or that their scripts print.
"""
from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from sandbox.world import disks, downloader, processes
from sandbox.world.errors import DriverFailed

VAR_LOCATION = Path("/var/lib/one")
_HTTP = re.compile(r"^https?://")
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class ImportInfo:
    """What export says of an image to the marketplace driver."""

    import_source: str
    md5: str
    size_mb: int
    format: str
    dispose: str = "NO"
    dispose_command: str = ""


@dataclass(frozen=True)
class DownloadInfo:
    """What cp says of the image it made."""

    path: Path
    format: str


def export(source: Path, size_mb: int) -> ImportInfo:
    """Describe an image file for a marketplace import: the MD5 is that of the file, not of its content.

    `size_mb` is the image's SIZE, which export only repeats. Raises DriverFailed (app's ERROR text).
    """
    try:
        md5 = _file_md5(source)
        format = disks.information(source).format
    except OSError as error:
        raise DriverFailed(
            "Error importing app into marketplace: Error exporting image to file: -"
        ) from error
    except disks.DiskError:
        format = "raw"
    return ImportInfo(str(source), md5, size_mb, format)


def download(
    source: str,
    destination: Path,
    *,
    datastore: Mapping[str, str] = _NOTHING,
    market: Mapping[str, str] = _NOTHING,
    image: Mapping[str, str] = _NOTHING,
    version: str = "7.4",
    var_location: Path = VAR_LOCATION,
    retries: int = 0,
) -> DownloadInfo:
    """Fill an image from a path or URL as fs/cp does, converted to the datastore's DRIVER format.

    `datastore`, `market`, `image`: the template attributes (SAFE_DIRS, RESTRICTED_DIRS, NO_DECOMPRESS,
    LIMIT_TRANSFER_BW, CONVERT, DRIVER; ACCESS_KEY_ID …, AWS, ENDPOINT; MD5, SHA1, TYPE).
    Raises DriverFailed with the text of the image's ERROR attribute.
    """
    copy = _Copy(source, destination, datastore, image, version, var_location)
    copy.check_allowed()
    request = downloader.Request(
        source=source,
        destination=destination,
        decompress=datastore.get("NO_DECOMPRESS", "").lower() != "yes",
        limit_rate=datastore.get("LIMIT_TRANSFER_BW", ""),
        md5=image.get("MD5", ""),
        sha1=image.get("SHA1", ""),
        market=market,
        retries=retries,
    )
    try:
        downloader.fetch(request)
    except downloader.DownloadFailed as error:
        destination.unlink(missing_ok=True)
        raise copy.failed(str(error)) from error
    return DownloadInfo(destination, copy.converted())


def size_of_source(source: str, *, no_decompress: bool = False) -> int:
    """Return the virtual size in MB of what is at a path or http URL, as stat does.

    Raises DriverFailed with the reason (`cannot access '…' (No such file or directory)` and the like).
    """
    if _HTTP.match(source):
        return _size_of_url(source, no_decompress)
    path = Path(source)
    if not path.is_file():
        reason = "No such file or directory" if not path.is_dir() else "Is a directory"
        raise DriverFailed(f"cannot access '{source}' ({reason})")
    if not os.access(path, os.R_OK):
        raise DriverFailed(f"cannot access '{source}' (Permission denied)")
    try:
        size = None if no_decompress else downloader.decompressed_size(path)
        return _megabytes(disks.information(path).virtual_size_bytes if size is None else size)
    except (disks.DiskError, downloader.DownloadFailed) as error:
        raise DriverFailed("Failed to detect image format") from error


class _Copy:
    """One run of fs/cp: its checks and its words."""

    def __init__(
        self, source: str, destination: Path, datastore: Mapping[str, str], image: Mapping[str, str],
        version: str, var_location: Path,
    ) -> None:
        self.source, self.destination = source, destination
        self._datastore, self._image = datastore, image
        self._version, self._var = version, var_location
        self._is_url = bool(_HTTP.match(source))

    def check_allowed(self) -> None:
        restricted = f"{self._var}/ /etc/one/ {self._var}/ {self._datastore.get('RESTRICTED_DIRS', '')}"
        safe = self._datastore.get("SAFE_DIRS", "")
        if self._is_url or not _is_restricted(self.source, safe.split(), restricted.split()):
            return
        raise self._failure(
            f"ERROR: cp: Not allowed to copy images from {restricted}",
            f"Not allowed to copy image from {self.source}, check RESTRICTED_DIRS in your datastore",
        )

    def failed(self, detail: str) -> DriverFailed:
        doing = "Downloading image" if self._is_url else "Copying local image"
        return self._failure(
            f"INFO: cp: {doing} {self.source} to the image repository",
            f'ERROR: cp: Command "set -e -o pipefail; {self._downloader_command()}" failed: {detail}',
            f"Error copying {self.source} to {self.destination}",
        )

    def converted(self) -> str:
        """Convert to the datastore's format where it wants that; return the format."""
        found = disks.information(self.destination).format
        wanted = self._datastore.get("DRIVER", "")
        convert = self._datastore.get("CONVERT", "yes").lower() == "yes" and self._image.get("TYPE") != "1"
        if not convert or wanted not in disks.FORMATS or found == wanted:
            return found
        temporary = self.destination.with_name(f"{self.destination.name}.tmp")
        try:
            disks.save_as(self.destination, temporary, wanted, source_format=found)
        except disks.DiskError as error:
            raise self._failure(f"Error converting {self.destination}") from error
        os.replace(temporary, self.destination)
        return wanted

    def _downloader_command(self) -> str:
        options = " "
        if self._image.get("MD5"):
            options = f"--md5 {self._image['MD5']}"
        if self._image.get("SHA1"):
            options = f"{options} --sha1 {self._image['SHA1']}"
        script = f"{self._var}/remotes/datastore/fs/../downloader.sh"
        return f"{script} {options} '{self.source}' '{self.destination}'"

    def _failure(self, *stderr: str) -> DriverFailed:
        reason = processes.failure_message("\n".join(stderr), self._version)
        return DriverFailed(f"Error copying image in the datastore: {reason}")


def _is_restricted(source: str, safe: list[str], restricted: list[str]) -> bool:
    """Say whether a local path is refused. What cannot be resolved (a URL) is not: it fails later."""
    if not os.path.isdir(os.path.dirname(source) or "."):
        return False
    path = os.path.realpath(source)
    if any(path.startswith(prefix) for prefix in safe):
        return False
    return any(path.startswith(prefix) for prefix in restricted)


def _size_of_url(source: str, no_decompress: bool) -> int:
    try:
        head = downloader.head(source)
        if not no_decompress and downloader.compression(head.first_bytes):
            raise DriverFailed("Unsupported remote image format")
        size: Optional[int] = downloader.qcow2_virtual_size(head.first_bytes)
        size = head.length if size is None else size
    except downloader.DownloadFailed as error:
        raise DriverFailed("Failed to get image head") from error
    if not size:
        raise DriverFailed("Runtime error during size estimation")
    return _megabytes(size)


def _megabytes(size_bytes: int) -> int:
    if size_bytes <= 0:
        raise DriverFailed("Runtime error during size estimation")
    return -(-size_bytes // 2**20)


def _file_md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()
