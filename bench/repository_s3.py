# SPDX-License-Identifier: Apache-2.0
"""A repository on S3 (the sandbox's Ceph radosgw in memory), near and 50 ms away.

Both go through the same proxy program, so that only the latency differs. Throughput is the disk's data by wall time.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import measuring, repository_days, repository_tools
from bench.measuring import Running, Samples
from bench.repository_tools import SAVED
from bench.repository_workload import data_extents
from sandbox import servers

NEAR, FAR = "S3 at 0 ms", "S3 at 50 ms"
ROUND_TRIPS_MS = {NEAR: 0, FAR: 50}
FULL, DAY_2, RESTORE = STEPS = ("S3: full", "S3: day 2", "S3: restore")
_BUCKET = "bench"


class S3:
    def __init__(self, folder: Path, samples: Samples):
        self._folder, self._samples = folder, samples
        self._cache = folder / "tools" / "s3-cache"

    def round(self, number: int) -> None:
        """A new server each time: it keeps everything in memory."""
        with servers.s3_server() as server, _proxies(server.port) as ports:
            _create_bucket(server)
            turn = [NEAR, FAR] if number % 2 == 0 else [FAR, NEAR]
            for who in turn:
                self._one(who, server, ports[who])

    def close(self) -> None:
        shutil.rmtree(self._cache, ignore_errors=True)

    def _one(self, who: str, server: servers.S3Server, port: int) -> None:
        shutil.rmtree(self._cache, ignore_errors=True)
        options = {
            "ENDPOINT": f"http://127.0.0.1:{port}", "ACCESS_KEY_ID": server.access_key,
            "SECRET_ACCESS_KEY": server.secret_key, "FORCE_PATH_STYLE": "yes", "CACHE": str(self._cache),
        }  # fmt: skip
        environment = {"BENCH_S3_OPTIONS": json.dumps(options), "PYTHONPATH": str(measuring.ROOT)}
        place = f"s3://{_BUCKET}/{ROUND_TRIPS_MS[who]}"
        steps, parent = repository_tools.STEPS, list[str]()
        measuring.run([*steps, "create", place], environment)
        for step, day in ((FULL, "full"), (DAY_2, "day 2")):
            image = self._folder / "images" / SAVED[day]
            measuring.read_through(image)
            cost, name = measuring.run([*steps, "save", place, str(image), *parent], environment)
            self._samples.add(step, who, cost, _data_mb(image))
            parent = [name]
        target = self._folder / "restored"
        argv = [*steps, "restore", place, name, str(target / "disk.raw")]
        cost = repository_days.restored(argv, environment, target, image)
        self._samples.add(RESTORE, who, cost, _data_mb(image))


def _create_bucket(server: servers.S3Server) -> None:
    import boto3  # not above: a child's peak begins with that of this process
    from botocore.config import Config

    client = boto3.client(
        "s3", endpoint_url=server.endpoint, aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key, region_name=server.region,
        config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip
    client.create_bucket(Bucket=_BUCKET)


def _data_mb(image: Path) -> float:
    return sum(stop - start for start, stop in data_extents(image)) / 1e6


@contextmanager
def _proxies(port: int) -> Iterator[dict[str, int]]:
    """The ports by which the server is near and far."""
    running = {
        who: Running([sys.executable, "-m", "bench.delaying_proxy", str(port), str(delay)])
        for who, delay in ROUND_TRIPS_MS.items()
    }
    try:
        yield {who: int(proxy.line()) for who, proxy in running.items()}
    finally:
        for proxy in running.values():
            proxy.process.send_signal(signal.SIGTERM)
            proxy.end(-signal.SIGTERM)
