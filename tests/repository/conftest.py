# SPDX-License-Identifier: Apache-2.0
"""Repositories in a directory and in a real S3 server on loopback, plain and encrypted."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import pytest

from onebackup_driver.repository import location, repository
from onebackup_driver.repository.stores import base
from onebackup_driver.repository.stores.directory import DirectoryStore
from sandbox import servers

from . import disks

BUCKET = "onebackup"


@pytest.fixture(scope="session")
def s3_options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The options of a location in the S3 server of this session; its bucket is there."""
    import boto3

    with servers.s3_server() as server:
        options = {
            "ENDPOINT": server.endpoint,
            "ACCESS_KEY_ID": server.access_key,
            "SECRET_ACCESS_KEY": server.secret_key,
            "CACHE": str(tmp_path_factory.mktemp("cache")),
        }
        client = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            region_name=server.region,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
        )
        client.create_bucket(Bucket=BUCKET)
        yield options


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[base.Store]:
    """A store with nothing in it."""
    opened = open_store(request, tmp_path)
    opened.prepare(("packs/", "index/", "folder/"))
    yield opened
    opened.close()


def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> base.Store:
    if request.param == "directory":
        return DirectoryStore(tmp_path / "repository")
    options = request.getfixturevalue("s3_options")
    return location.parse(f"s3://{BUCKET}/{secrets.token_hex(4)}/deep", options).open_store()


@pytest.fixture(params=[None, disks.KEY], ids=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> Optional[bytes]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def directory(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "repository")


@pytest.fixture
def small(directory: DirectoryStore, key: Optional[bytes]) -> repository.Repository:
    """A small repository in a directory, plain and encrypted."""
    return repository.create(directory, disks.SMALL, key)
