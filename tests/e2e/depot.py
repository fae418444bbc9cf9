# SPDX-License-Identifier: Apache-2.0
"""A marketplace of onebackup's own in a test's corner of a front-end: driver, repository and gateway."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

from onebackup_driver.repository import keys, location, repository
from onebackup_driver.repository.format.header import Parameters
from tests.e2e import checks
from tests.e2e.site import COMMAND, Result, Site, unique

ROOT = Path(__file__).resolve().parents[2]
_DOOR = """#!/bin/sh
ONE_LOCATION={}; export ONE_LOCATION
exec {} -I {} "$@"
"""


class Depot:
    """`market`: the marketplace's id. `place`: dir:/… or s3://…; `template`: more of the marketplace's template."""

    def __init__(
        self, site: Site, place: str, template: Optional[dict[str, str]] = None, new: bool = True,
        parameters: Optional[Parameters] = None,
    ) -> None:
        self.site, self.place, self.template = site, place, template or {}
        self.process: Optional[subprocess.Popen[str]] = None
        self.port = free_port()
        (site.location / "var").mkdir(exist_ok=True)
        self.configure()
        self._install_driver()
        if parameters is not None:
            self._create(parameters)
        elif new:
            checks.good(self.command("create", *self._create_options()))
        self.start_gateway()
        self.market = self.make_market()

    def configure(self, gateway: Optional[dict[str, Any]] = None, **options: Any) -> None:
        self.site.configure(gateway={"port": self.port, **(gateway or {})}, **options)

    def _create_options(self) -> list[str]:
        return ["--encrypt"] if "KEY_FILE" in self.template else []

    def _create(self, parameters: Parameters) -> None:
        """With what no option of the command allows: a grace period that a test can wait for."""
        key = keys.create(Path(self.template["KEY_FILE"])) if "KEY_FILE" in self.template else None
        options = {name: self.template[name] for name in _OPTIONS if name in self.template}
        repository.create(location.parse(self.place, options).open_store(), parameters, key)

    def command(self, verb: str, *arguments: object) -> Result:
        options = [f"--option={name}={value}" for name, value in self.template.items() if name in _OPTIONS]
        if "KEY_FILE" in self.template:
            options.append(f"--key-file={self.template['KEY_FILE']}")
        return self.site.onebackup("repository", *verb.split(), self.place, *options, *arguments)

    def make_market(self, **more: str) -> int:
        values = {"NAME": unique("depot"), "MARKET_MAD": "onebackup", "REPOSITORY": self.place, **self.template, **more}
        text = "\n".join(f'{name}="{value}"' for name, value in values.items())
        return int(self.site.call("one.market.allocate", text))

    def _install_driver(self) -> None:
        """What is installed has an interpreter of its own; here it also needs to know which test it works for."""
        folder = self.site.front_end.state / "remotes" / "market" / "onebackup"
        folder.mkdir(parents=True, exist_ok=True)
        for script in (ROOT / "remotes" / "market" / "onebackup").iterdir():
            words = (shlex.quote(str(word)) for word in (self.site.location, sys.executable, script))
            text = _DOOR.format(*words)
            temporary = folder.with_name(f"{script.name}.new")
            temporary.write_text(text)
            temporary.chmod(0o755)
            os.replace(temporary, folder / script.name)

    # -- the gateway

    def start_gateway(self, **environment: str) -> None:
        with open(self.site.folder / "gateway.log", "a") as log:
            self.process = subprocess.Popen(
                [str(COMMAND), "gateway"], env={**self.site.environment, **environment}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), (self.site.folder / "gateway.log").read_text()

    def stop_gateway(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=20)
            self.process = None

    # -- what is in it

    @property
    def folder(self) -> Path:
        assert self.place.startswith("dir:")
        return Path(self.place[4:])

    def manifests(self) -> set[str]:
        return {path.name for path in (self.folder / "manifests").iterdir()}

    def packs(self) -> int:
        """Bytes in packs."""
        return sum(path.stat().st_size for path in (self.folder / "packs").rglob("*") if path.is_file())

    def grow_old(self, days: float = 3) -> None:
        """Let everything in it be some days older."""
        for path in self.folder.rglob("*"):
            if path.is_file():
                then = path.stat().st_mtime - days * 86400
                os.utime(path, (then, then))


_OPTIONS = ("ENDPOINT", "REGION", "FORCE_PATH_STYLE", "CREDENTIALS_FILE")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
