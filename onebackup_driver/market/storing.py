# SPDX-License-Identifier: Apache-2.0
"""An image becomes a restore point of a disk, once it is proven that it can be read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onebackup_driver import commands, disguises, errors, files, paths, stored_file
from onebackup_driver.gateway import checksum
from onebackup_driver.gateway.content import Content
from onebackup_driver.market import rereading
from onebackup_driver.repository import image_header, problems, proving, qemu_image, source
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.manifests import Loaded
from onebackup_driver.repository.repository import Repository
from onebackup_driver.repository.saving import Saved
from onebackup_driver.units import MIB

_OUTPUT_BYTES = 1024 * 1024
_CHECK_TIMEOUT_S = 3600.0
#: Exit code of `qemu-img check` for clusters that nothing uses: harmless.
_LEAKS = 3


@dataclass(frozen=True)
class Image:
    """A local image. `size_mb`: what oned knows of its size, 0 for nothing."""

    path: Path
    format: str
    size_mb: int = 0

    @property
    def served_as(self) -> str:
        """The format in which the gateway serves it: raw stays raw, but for a disk that OpenNebula would unpack or
        misread when a restore downloads it."""
        if self.format != "raw":
            return "qcow2"
        head = stored_file.local_head(str(self.path), disguises.HEAD_BYTES) or b""
        return "qcow2" if disguises.packed(head) or disguises.image(head) else "raw"


def store(opened: Repository, image: Image, parent: str, facts: dict[str, Any], where: paths.Paths) -> Manifest:
    """Save an image; `format` and `md5` of what the gateway will serve are added to the facts.

    Raises SourceChanged, Refused, StoreFailed, Damaged and CommandFailed; then there is no restore point.
    """
    _check_layers(image)
    temporary = where.state / "tmp"
    files.make_private_directory(temporary)
    with source.open_image(image.path, image.format, temporary) as disk:
        if disk.size_bytes <= (image.size_mb - 1) * MIB or disk.size_bytes == 0:
            raise problems.SourceChanged(
                f"{image.path} ends early: it has {disk.size_bytes} bytes, {max(1, image.size_mb)} MiB were expected"
            )
        kind = image.served_as
        return opened.save(
            disk,
            disk.size_bytes,
            parent or None,
            facts,
            complete=lambda saved: _proof(opened, saved, kind, disk),
        )


def _proof(opened: Repository, saved: Saved, kind: str, disk: source.Image) -> dict[str, Any]:
    """Prove what was stored, and say the MD5 of what will be served. Raises Damaged, Missing, SourceChanged."""
    proving.prove(opened, saved)
    again = rereading.SourceDisk(opened, Loaded(saved.cells, saved.entries), disk)
    return {"format": kind, "md5": checksum.md5(Content(again, kind))}


def _check_layers(image: Image) -> None:
    """Refuse an image whose header makes other files of this machine a part of it: its owner may have written that
    header, and would find those files in the restored disk. Raises Refused, SourceChanged."""
    if image.format == "raw":
        return
    if image.format != "qcow2":
        raise errors.Refused(f"{image.path} has the format {image.format[:20]}; raw and qcow2 are backed up")
    for layer in image_header.layers(image.path):
        _check_tables(layer.path, layer.cluster_bytes)


def _check_tables(path: Path, cluster_bytes: int) -> None:
    """A qcow2 file that was cut off reads as zeros where its tables are missing. Raises SourceChanged."""
    argv = ["qemu-img", "check", "--output=json", "-f", "qcow2", "--", str(path)]
    done = commands.run_limited(argv, _CHECK_TIMEOUT_S, qemu_image.QEMU_IMG_MEMORY_BYTES, _OUTPUT_BYTES)
    if done.code not in (0, _LEAKS):
        raise problems.SourceChanged(f"{path} is cut off or damaged: {done.last_words or 'see: qemu-img check'}")
    # the end by its own count of clusters; the last one need not be there to its end
    if json.loads(done.output).get("image-end-offset", 0) >= path.stat().st_size + cluster_bytes:
        raise problems.SourceChanged(f"{path} is cut off: it ends at byte {path.stat().st_size}")
