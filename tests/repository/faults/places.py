# SPDX-License-Identifier: Apache-2.0
"""Where a case's repository lies: a directory, or a prefix of a bucket behind the proxy. Filled from a World."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from onebackup_driver.repository import location, repository
from onebackup_driver.repository.stores import base

from . import proxy, world
from .world import World

FOLDERS = ("packs", "index", "manifests", "condemned", "verified", "clock")


class Place(ABC):
    """`key` and `points` are those of the world it was filled from."""

    def __init__(self, content: World):
        self.key, self.points, self.world = content.key, dict(content.points), content

    def open(self) -> repository.Repository:
        return repository.open(self.open_store(), self.key)

    @abstractmethod
    def address(self) -> tuple[str, dict[str, str]]:
        """What location.parse takes: also for another process."""

    def open_store(self) -> base.Store:
        return location.parse(*self.address()).open_store()

    @abstractmethod
    def age(self, hours: float) -> None:
        """For the store all objects are that much older now."""

    @abstractmethod
    def names(self) -> list[str]:
        """All objects, also half-made ones (`.tmp-…` in a directory, `upload:…` in a bucket)."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Something that is another one for each object when its content is."""

    @abstractmethod
    def read(self, name: str) -> bytes: ...

    @abstractmethod
    def write(self, name: str, content: Optional[bytes]) -> None:
        """Replace an object behind the repository's back; None removes it."""

    def discard(self) -> None:
        return


class Directory(Place):
    def __init__(self, content: World, root: Path, key: Optional[bytes] = None):
        super().__init__(content)
        self.root, now = root, time.time()
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name, (stored, age_s) in content.objects.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(stored)
            os.utime(path, (now, now - age_s))

    def address(self) -> tuple[str, dict[str, str]]:
        return f"dir:{self.root}", {}

    def age(self, hours: float) -> None:
        world.older(self.root, hours)

    def names(self) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())

    def versions(self) -> dict[str, str]:
        return {name: hashlib.sha256(self.read(name)).hexdigest() for name in self.names()}

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def write(self, name: str, content: Optional[bytes]) -> None:
        path = self.root / name
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)

    def discard(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


class Bucket(Place):
    """A prefix. What the case does goes through the proxy, what this class does goes to the server."""

    def __init__(self, content: World, server: proxy.Proxy, client: Any, cache: Path):
        super().__init__(content)
        self.server, self._client = server, client
        self.prefix = secrets.token_hex(6)
        self.cache = cache / self.prefix
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: self.write(name, content.objects[name][0]), content.objects))
        self.fresh()

    def fresh(self) -> None:
        """The clock of the store shows the ages of the world's objects, and nothing is cached."""
        self.server.clock.forget()
        for name, (_, age_s) in self.world.objects.items():
            self.server.clock.stamp(f"{self.prefix}/{name}", -age_s)
        shutil.rmtree(self.cache, ignore_errors=True)

    def address(self) -> tuple[str, dict[str, str]]:
        return f"s3://{self.server.bucket}/{self.prefix}", {**self.server.options, "CACHE": str(self.cache)}

    def age(self, hours: float) -> None:
        self.server.clock.ahead_s += hours * world.HOUR_S

    def copied(self, root: Path) -> Directory:
        """The same in a directory, where looking at it takes a tenth of the time."""
        with ThreadPoolExecutor(4) as pool:
            names = [name for name in self.names() if not name.startswith("upload:")]
            stored = list(pool.map(self.read, names))
        ages = (self.server.clock.age_s(f"{self.prefix}/{name}") for name in names)
        objects = {name: (content, age_s) for name, content, age_s in zip(names, stored, ages)}
        made = Directory(replace(self.world, objects=objects), root)
        made.points = dict(self.points)
        return made

    def _keys(self) -> dict[str, str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.server.bucket, Prefix=f"{self.prefix}/"
        )
        return {found["Key"]: found["ETag"] for page in pages for found in page.get("Contents") or ()}

    def _uploads(self) -> list[dict[str, Any]]:
        answer = self._client.list_multipart_uploads(Bucket=self.server.bucket, Prefix=f"{self.prefix}/")
        return list(answer.get("Uploads") or ())

    def names(self) -> list[str]:
        return sorted(
            [key.partition("/")[2] for key in self._keys()]
            + [f"upload:{found['Key'].partition('/')[2]}" for found in self._uploads()]
        )

    def versions(self) -> dict[str, str]:
        return self._keys()

    def read(self, name: str) -> bytes:
        answer = self._client.get_object(Bucket=self.server.bucket, Key=f"{self.prefix}/{name}")
        return bytes(answer["Body"].read())

    def write(self, name: str, content: Optional[bytes]) -> None:
        where = {"Bucket": self.server.bucket, "Key": f"{self.prefix}/{name}"}
        if content is None:
            self._client.delete_object(**where)
        else:
            self._client.put_object(Body=content, **where)

    def discard(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda key: self._client.delete_object(Bucket=self.server.bucket, Key=key), self._keys()))
        for found in self._uploads():
            self._client.abort_multipart_upload(
                Bucket=self.server.bucket, Key=found["Key"], UploadId=found["UploadId"]
            )
        shutil.rmtree(self.cache, ignore_errors=True)
