# SPDX-License-Identifier: Apache-2.0
"""The gateway when its S3 server goes away in the middle, and as OpenNebula's downloader uses it."""

from __future__ import annotations

import hashlib
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from sandbox import servers
from tests.gateway import cable
from tests.gateway.cable import Cable
from tests.market.driving import Front

MIB = 1024 * 1024
SIZE = 96 * MIB


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cable]:
    with servers.s3_server(tmp_path_factory.mktemp("s3")) as server:
        keys = {"aws_access_key_id": server.access_key, "aws_secret_access_key": server.secret_key}
        boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1", **keys).create_bucket(Bucket="depot")
        with cable.to(int(server.endpoint.rsplit(":", 1)[1])) as made:
            made.keys = keys
            yield made


@pytest.fixture(scope="module")
def front(wire: Cable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("gateway")
    credentials = folder / "credentials"
    credentials.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in wire.keys.items()))
    endpoint = f"http://127.0.0.1:{wire.port}"
    options = {"ENDPOINT": endpoint, "CREDENTIALS_FILE": str(credentials)}
    made = Front(folder / "one", {"REPOSITORY": "s3://depot/backups", **options})
    made.configure()
    create = [f"--option={name}={value}" for name, value in options.items()]
    done = made.onebackup("repository", "create", "s3://depot/backups", *create)
    assert done.code == 0, done
    made.start_gateway()
    yield made
    if made.process is not None:
        made.stop_gateway()


@pytest.fixture(scope="module")
def url(front: Front, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A disk of noise, as it is served."""
    image = tmp_path_factory.mktemp("image") / "image"
    image.write_bytes(random.Random(1).randbytes(SIZE))
    return front.served(front.import_(image, "raw").values["SOURCE"])


def curl(url: str, path: Path, *options: str) -> subprocess.Popen[bytes]:
    argv = ["curl", "--fail", "-sS", "-k", "-L", "-o", str(path), *options, url]
    return subprocess.Popen(argv, stderr=subprocess.PIPE)


def test_a_first_look_and_then_the_whole(front: Front, url: str, tmp_path: Path) -> None:
    """downloader.sh asks for the kind of the file first, and hangs up after the first KB."""
    argv = ["bash", "-c", 'curl --fail -sS -k -L "$1" | head -c 1024', "-", url]
    first = subprocess.run(argv, capture_output=True)
    assert len(first.stdout) == 1024
    done = curl(url, tmp_path / "all")
    assert done.wait(120) == 0
    content = (tmp_path / "all").read_bytes()
    assert content[:1024] == first.stdout and content == random.Random(1).randbytes(SIZE)


def test_a_lost_server_breaks_the_transfer_off(front: Front, url: str, wire: Cable, tmp_path: Path) -> None:
    before = wire.brought_bytes
    download = curl(url, tmp_path / "part", "--limit-rate", "40M")
    while wire.brought_bytes - before < SIZE // 4:
        assert download.poll() is None
        time.sleep(0.005)
    wire.pull_out()
    assert download.wait(120) not in (0, 22), "it was neither complete nor refused: it broke off"
    assert 0 < (tmp_path / "part").stat().st_size < SIZE
    began = time.monotonic()
    refused = curl(url, tmp_path / "none", "--write-out", "%{http_code}")
    assert refused.wait(120) == 22 and not (tmp_path / "none").exists()
    assert time.monotonic() - began < 100
    wire.plug_in()
    assert curl(url, tmp_path / "all").wait(120) == 0
    digest = hashlib.md5((tmp_path / "all").read_bytes()).hexdigest()
    assert digest == hashlib.md5(random.Random(1).randbytes(SIZE)).hexdigest()


def test_keys_in_the_template_work_with_a_warning(front: Front, wire: Cable) -> None:
    template = dict(front.market)
    template.pop("CREDENTIALS_FILE")
    template["ACCESS_KEY_ID"], template["SECRET_ACCESS_KEY"] = wire.keys.values()
    mine, front.market = front.market, template
    try:
        answer = front.monitor()
        front.market = {**template, "QUOTA_MB": "1000"}
        limited = front.monitor()
    finally:
        front.market = mine
    assert answer.code == 0 and answer.err.startswith("WARN: the S3 keys are in the marketplace's template")
    assert len(answer.err.splitlines()) == 1 and template["SECRET_ACCESS_KEY"] not in answer.err + answer.out
    assert f'FREE_MB="{1024 * 1024}"' in answer.out and 'TOTAL_MB="1000"' in limited.out
