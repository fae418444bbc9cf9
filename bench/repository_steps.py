# SPDX-License-Identifier: Apache-2.0
"""One step of bench.repository as a process of its own: save an image, or restore a restore point.

    python -m bench.repository_steps create PLACE [LEVEL [KEYFILE]]
    python -m bench.repository_steps save PLACE IMAGE [PARENT]     prints the name of the restore point
    python -m bench.repository_steps restore PLACE NAME IMAGE      to a sparse raw file

PLACE is a directory or s3://…; from the environment: BENCH_KEY_FILE, and BENCH_S3_OPTIONS (JSON, see location.py).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Optional

from onebackup_driver.repository import keys, location, repository, source
from onebackup_driver.repository.format.header import Parameters
from onebackup_driver.repository.stores import base


def main(words: list[str]) -> None:
    steps: dict[str, Callable[..., None]] = {"create": create, "save": save, "restore": restore}
    steps[words[0]](*words[1:])


def create(place: str, level: str = "1", key_file: str = "") -> None:
    key = keys.create(Path(key_file)) if key_file else None
    repository.create(_store(place), Parameters(compression_level=int(level)), key)


def save(place: str, image: str, parent: str = "") -> None:
    opened = repository.open(_store(place), _key())
    with source.open_image(Path(image), "qcow2" if image.endswith(".qcow2") else "raw") as disk:
        print(opened.save(disk, disk.size_bytes, parent or None, {"image": image}).name)


def restore(place: str, name: str, image: str) -> None:
    opened = repository.open(_store(place), _key())
    point = opened.load(name)
    descriptor = os.open(image, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.ftruncate(descriptor, point.size_bytes)

    def write(offset: int, data: memoryview) -> None:
        while data:
            count = os.pwrite(descriptor, data, offset)
            offset, data = offset + count, data[count:]

    opened.restore(point, write)
    os.close(descriptor)


def _store(place: str) -> base.Store:
    options = json.loads(os.environ.get("BENCH_S3_OPTIONS", "{}"))
    return location.parse(place if ":" in place else f"dir:{place}", options).open_store()


def _key() -> Optional[bytes]:
    path = os.environ.get("BENCH_KEY_FILE")
    return keys.load(Path(path)) if path else None


if __name__ == "__main__":
    main(sys.argv[1:])
