# SPDX-License-Identifier: Apache-2.0
"""What the tests of the sandbox's files and processes share."""
from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox import servers
from sandbox.world import guest, processes

DATA = Path(__file__).parent / "data"


def write_pattern(path: Path, format: str, pattern: int, offset_mib: int, length_mib: int) -> None:
    """Fill a part of a disk as a user of the VM would, through a real qemu."""
    command = f"write -P {pattern} {offset_mib}M {length_mib}M"
    subprocess.run(["qemu-io", "-f", format, "-c", command, str(path)], check=True, capture_output=True)


def has_pattern(path: Path, format: str, pattern: int, offset_mib: int, length_mib: int) -> bool:
    command = f"read -P {pattern} {offset_mib}M {length_mib}M"
    done = subprocess.run(
        ["qemu-io", "-r", "-U", "-f", format, "-c", command, str(path)], check=False, capture_output=True, text=True
    )
    return done.returncode == 0 and "verification failed" not in done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """The directory of a VM whose guest does not outlive the test."""
    directory = tmp_path / "machine"
    yield directory
    guest.kill(directory)


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    home = tmp_path / "one"
    home.mkdir()
    return processes.oneadmin_environment(home, "http://127.0.0.1:9/RPC2")


@dataclass(frozen=True)
class Script:
    """An executable that a test puts below remotes/."""

    remotes: Path

    def write(self, name: str, text: str) -> Path:
        path = self.remotes / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}")
        path.chmod(0o755)
        return path


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path / "remotes")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[servers.S3Server]:
    with servers.s3_server() as server:
        yield server


def s3_client(server: servers.S3Server) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
    )
