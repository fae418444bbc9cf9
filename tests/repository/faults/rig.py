# SPDX-License-Identifier: Apache-2.0
"""What all cases of a run share: a directory, and an S3 server behind the proxy, started when first asked for."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Optional
from unittest import mock

from sandbox import servers

from . import places, proxy
from .world import World

BUCKET = "onebackup-faults"


class Rig:
    def __init__(self, directory: Path, stack: ExitStack):
        self.directory, self._stack = directory, stack
        self._numbers = itertools.count(1)
        self._between: Optional[proxy.Proxy] = None
        self._client: Any = None
        self._kept: Optional[places.Bucket] = None

    @property
    def between(self) -> proxy.Proxy:
        if self._between is None:
            server = self._stack.enter_context(servers.s3_server())
            self._client = _client(server)
            self._client.create_bucket(Bucket=BUCKET)
            self._between = self._stack.enter_context(proxy.running(server, BUCKET))
        return self._between

    @property
    def credentials_file(self) -> Path:
        """The keys of the server, as a file that the command line takes."""
        path, options = self.directory / "credentials", self.between.options
        if not path.exists():
            path.touch(0o600)
            path.write_text("[default]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = "
                            "{SECRET_ACCESS_KEY}\n".format(**options))  # fmt: skip
        return path

    @contextmanager
    def place(self, where: str, content: World, reading: bool = False) -> Iterator[places.Place]:
        """A repository for one case; `where` begins with "directory" or "s3". `reading`: it is left as it was, and
        may be used by the next case."""
        if reading and where.startswith("s3"):
            yield self._lasting(content)
            self.between.plan = proxy.Plan()
            return
        if where.startswith("s3"):
            self.between.plan = proxy.Plan()
            made: places.Place = places.Bucket(content, self.between, self._client, self.directory / "cache")
        else:
            made = places.Directory(content, self.directory / f"{next(self._numbers)}")
        try:
            yield made
        finally:
            if where.startswith("s3"):
                self.between.plan = proxy.Plan()
            made.discard()


    def looked_at(self, place: places.Place, case_at: int) -> places.Place:
        """Where the invariants are checked: of seven in eight places in a bucket in a copy of them."""
        if isinstance(place, places.Bucket) and case_at % 8 and not any("upload:" in name for name in place.names()):
            return place.copied(self.directory / f"{next(self._numbers)}")
        return place

    def _lasting(self, content: World) -> places.Place:
        if self._kept is None or self._kept.world is not content:
            self._kept = places.Bucket(content, self.between, self._client, self.directory / "cache")
        self._kept.fresh()
        return self._kept


@contextmanager
def running(directory: Path) -> Iterator[Rig]:
    """All that is written is below `directory`, also what belongs into a home."""
    with ExitStack() as stack, mock.patch.dict(os.environ, HOME=str(directory)):
        yield Rig(directory, stack)


def _client(server: Any) -> Any:
    import boto3

    return boto3.client(
        "s3", endpoint_url=server.endpoint, region_name=server.region, aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )  # fmt: skip
