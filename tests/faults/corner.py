# SPDX-License-Identifier: Apache-2.0
"""A VM's corner of a front-end: its marketplace of one of three kinds, and its state on a small disk of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Optional

import boto3
from lxml import etree

from sandbox.process import FrontEnd
from tests.conftest import HttpMarket
from tests.e2e.depot import ROOT, Depot
from tests.e2e.site import Site, unique
from tests.faults.gate import Gate
from tests.faults.orphans import Watch

_STATE_DISK_MB = 8
_TIMEOUT_S = 20
_S3_REGION = "us-east-1"


class Corner(Site):
    """`kind`: http, s3 or onebackup. `gate`: stands before what is stored. `options`: always in onebackup.yaml."""

    def __init__(self, front_end: FrontEnd, folder: Path, server: HttpMarket, gate: Gate) -> None:
        self.gate = gate
        self.options: dict[str, Any] = {"minimum_frequency_seconds": 1}
        super().__init__(front_end, folder, server)
        self.markets = {self.market}
        self.state = self.location / "var" / "onebackup"
        self.state.mkdir(parents=True)
        self.small_disk = _mount(self.state)

    def configure(self, **options: Any) -> None:
        super().configure(**{**options, **self.options})

    def stored(self, app: etree._Element) -> bytes:
        """The bytes behind an app's SOURCE, as a restore would get them. Raises OSError."""
        with urllib.request.urlopen(app.findtext("SOURCE", ""), timeout=_TIMEOUT_S) as answer:
            content: bytes = answer.read()
            return content

    def heal(self) -> None:
        """The storage can be reached, and there is room on the disk."""
        self.gate.open()
        self._filler.unlink(missing_ok=True)

    def fill_disk(self) -> None:
        """Leave no room on the disk that holds onebackup's state; whether it has one of its own."""
        with open(self._filler, "wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(bytes(4096))
            except OSError:
                pass

    def own_apps(self) -> list[int]:
        return [int(app.findtext("ID", "")) for app in self.pool("marketapp")
                if app.findtext("MARKETPLACE_ID") == str(self.market)]  # fmt: skip

    def end(self) -> None:
        for market in self.markets | {self.market}:
            self.call("one.market.enable", market, False)  # else it is monitored for ever, by a process each time
        if self.small_disk:
            subprocess.run(["umount", "-l", self.state], check=False)

    @property
    def _filler(self) -> Path:
        return self.state / "what-others-wrote"


class S3Corner(Corner):
    """Its marketplace is a bucket of `store`, reached through the gate."""

    def __init__(self, front_end: FrontEnd, folder: Path, server: HttpMarket, gate: Gate, store: S3Store) -> None:
        super().__init__(front_end, folder, server, gate)
        self._client = boto3.client("s3", endpoint_url=store.endpoint, region_name=_S3_REGION, **store.keys())
        bucket = unique("faults")
        self._client.create_bucket(Bucket=bucket)
        values = {"NAME": bucket, "MARKET_MAD": "s3", "BUCKET": bucket, "REGION": _S3_REGION, "ENDPOINT": gate.url,
                  "ACCESS_KEY_ID": store.access_key, "SECRET_ACCESS_KEY": store.secret_key,
                  "FORCE_PATH_STYLE": "YES", "AWS": "NO"}  # fmt: skip
        text = "\n".join(f'{key}="{value}"' for key, value in values.items())
        self.market = int(self.call("one.market.allocate", text))

    def stored(self, app: etree._Element) -> bytes:
        bucket, _, key = app.findtext("SOURCE", "").removeprefix("s3://").partition("/")
        try:
            content: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
            return content
        except self._client.exceptions.ClientError as error:
            raise OSError(str(error)) from error


class OwnCorner(Corner):
    """Its marketplace is of onebackup's own driver, with a repository and a gateway that ends with us."""

    def __init__(self, front_end: FrontEnd, folder: Path, server: HttpMarket, gate: Gate, watch: Watch) -> None:
        super().__init__(front_end, folder, server, gate)
        self.watch = watch
        self.depot = _Depot(self, f"dir:{folder / 'repository'}")
        self.market = self.depot.market

    def end(self) -> None:
        self.depot.stop_gateway()
        super().end()


class _Depot(Depot):
    """Whose gateway is reached through the gate, and whose drivers run the package that is tested."""

    site: OwnCorner

    def start_gateway(self, **environment: str) -> None:
        self.site.gate.lead_to(self.port)
        self.site.options["gateway"] = {"port": self.port, "url": self.site.gate.url}
        self.configure()
        super().start_gateway(**environment)
        assert self.process is not None
        self.site.watch.over(self.process.pid)

    def stop_gateway(self) -> None:
        if self.process is not None:
            self.site.watch.no_more(self.process.pid)
        super().stop_gateway()

    def _install_driver(self) -> None:
        folder = self.site.front_end.state / "remotes" / "market" / "onebackup"
        folder.mkdir(parents=True, exist_ok=True)
        for script in (ROOT / "remotes" / "market" / "onebackup").iterdir():
            new = folder.with_name(f"{script.name}.new")
            new.write_text(f"#!/bin/sh\nexport ONE_LOCATION={self.site.location} PYTHONPATH={ROOT}\n"
                           f'exec {sys.executable} {script} "$@"\n')  # fmt: skip
            new.chmod(0o755)
            new.replace(folder / script.name)


class S3Store:
    """An S3 server that is there: `ENDPOINT KEY SECRET`, as __main__ hands it to its workers."""

    def __init__(self, text: str) -> None:
        self.endpoint, self.access_key, self.secret_key = text.split()

    def keys(self) -> dict[str, str]:
        return {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}

    @property
    def port(self) -> int:
        return int(self.endpoint.rsplit(":", 1)[1])


def _mount(folder: Path) -> bool:
    """A disk of a few MB, where we may mount one."""
    mount: Optional[str] = shutil.which("mount")
    options = f"size={_STATE_DISK_MB}m,mode=700"
    return mount is not None and subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "onebackup-faults", folder], stderr=subprocess.DEVNULL
    ).returncode == 0
