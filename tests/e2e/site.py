# SPDX-License-Identifier: Apache-2.0
"""A test's own corner of a front-end: a marketplace, a place for onebackup's state, and a look at everything in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import yaml
from lxml import etree

from sandbox.process import FrontEnd, Refused
from tests.conftest import HttpMarket

COMMAND = Path(sys.executable).with_name("onebackup")
TIMEOUT_S = 60.0
POOLS = {"template": (-2, -1, -1), "image": (-2, -1, -1), "marketapp": (-2, -1, -1), "vm": (-2, -1, -1, -1)}


@dataclass(frozen=True)
class Result:
    """How a run of onebackup ended."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The one line on stderr; fails when there is another number of lines."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"not one line on stderr: {self.err!r}"
        assert lines[0].startswith("ERROR: "), lines[0]
        return lines[0]


class Run:
    """A onebackup process under way."""

    def __init__(self, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [str(COMMAND), *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def end(self, timeout_s: float = TIMEOUT_S) -> Result:
        try:
            out, err = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"onebackup did not end within {timeout_s} s:\n{out}\n{err}") from None
        assert "Traceback" not in out + err, out + err
        return Result(self.process.returncode, out, err)


class Site:
    """`market`: id of an http marketplace of this test alone. `location`: ONE_LOCATION with onebackup's state in it."""

    def __init__(self, front_end: FrontEnd, folder: Path, server: HttpMarket) -> None:
        self.front_end, self.folder, self.server = front_end, folder, server
        self.location = folder / "one_location"
        (self.location / "etc").mkdir(parents=True)
        self.endpoint = front_end.endpoint
        self._before = {kind: self.ids(kind) for kind in POOLS}
        self._markets: list[int] = []
        self.market = self.make_market()
        self.runs: list[Run] = []

    def call(self, method: str, *arguments: Any) -> Any:
        return self.front_end.call(method, *arguments)

    def make_market(self, **attributes: str) -> int:
        values = {"NAME": unique("backups"), "MARKET_MAD": "http", "BASE_URL": self.server.url,
                  "PUBLIC_DIR": str(self.server.public_dir), **attributes}  # fmt: skip
        made = int(self.call("one.market.allocate", "\n".join(f'{key}="{value}"' for key, value in values.items())))
        self._markets.append(made)
        return made

    # -- onebackup

    @property
    def environment(self) -> dict[str, str]:
        own = {**self.front_end.environment, "ONE_LOCATION": str(self.location), "ONE_XMLRPC": self.endpoint}
        return {**os.environ, **own}

    def configure(self, **options: Any) -> None:
        (self.location / "etc" / "onebackup.yaml").write_text(yaml.safe_dump(options))

    def begin(self, *arguments: object, **environment: str) -> Run:
        run = Run(tuple(map(str, arguments)), {**self.environment, **environment})
        self.runs.append(run)
        return run

    def onebackup(self, *arguments: object, **environment: str) -> Result:
        return self.begin(*arguments, **environment).end()

    def journals(self) -> list[Path]:
        return sorted((self.location / "var" / "onebackup" / "journal").glob("*"))

    # -- the front-end as it is

    def info(self, kind: str, number: int) -> etree._Element:
        return etree.fromstring(self.call(f"one.{kind}.info", number).encode())

    def pool(self, kind: str) -> etree._Element:
        method = "one.vmpool.infoextended" if kind == "vm" else f"one.{kind}pool.info"
        return etree.fromstring(self.call(method, *POOLS[kind]).encode())

    def ids(self, kind: str) -> set[int]:
        return {int(item.findtext("ID", "")) for item in self.pool(kind)}

    def apps(self) -> list[int]:
        """The apps in this test's marketplaces."""
        return sorted(self.ids("marketapp") - self._before["marketapp"])

    def vm_state(self, vm_id: int) -> tuple[int, int]:
        element = self.info("vm", vm_id)
        state = int(element.findtext("STATE", ""))
        return state, int(element.findtext("LCM_STATE", "")) if state == 3 else 0

    def user_template(self, vm_id: int, path: str) -> str:
        return self.info("vm", vm_id).findtext(f"USER_TEMPLATE/{path}") or ""

    def recorded(self, vm_id: int) -> list[int]:
        """The apps that BACKUP names: image apps first, the VM app last."""
        text = self.user_template(vm_id, "BACKUP/MARKETPLACE_APP_IDS")
        return [int(item) for item in text.split(",") if item]

    def everything(self) -> dict[str, set[Any]]:
        """All objects and files that a run could leave behind."""
        found: dict[str, set[Any]] = {kind: set(self.ids(kind)) for kind in POOLS}
        found["stored files"] = {path.name for path in self.server.public_dir.iterdir()}
        found["datastore files"] = {path.name for path in (self.front_end.state / "datastores" / "1").iterdir()}
        found["journals"] = set(self.journals())
        return found

    def stored_file(self, app_id: int) -> Path:
        source = self.info("marketapp", app_id).findtext("SOURCE", "")
        assert source.startswith(self.server.url), source
        return self.server.public_dir / source.rsplit("/", 1)[1]

    # -- the end

    def close(self) -> None:
        for run in self.runs:
            if run.process.poll() is None:
                run.process.kill()
                run.process.communicate()
        self.endpoint = self.front_end.endpoint
        self.front_end.control("clear")
        for vm_id in self.ids("vm") - self._before["vm"]:
            self._end_vm(vm_id)
        for kind in ("marketapp", "template", "image"):
            for number in self.ids(kind) - self._before[kind]:
                self._try(f"one.{kind}.delete", number)
        for number in self._markets:  # the front-end looks at each one that is there, again and again
            self._try("one.market.delete", number)

    def _end_vm(self, vm_id: int) -> None:
        def ended() -> bool:
            if self.vm_state(vm_id)[0] == 6:
                return True
            self._try("one.vm.unlock", vm_id)
            self._try("one.vm.action", "terminate-hard", vm_id)
            return False

        wait(f"VM {vm_id} to end", ended)

    def _try(self, method: str, *arguments: Any) -> None:
        try:
            self.call(method, *arguments)
        except Refused:
            pass


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def wait(what: str, condition: Callable[[], Optional[bool]], timeout_s: float = 30.0, pause_s: float = 0.01) -> None:
    """Poll until the condition holds. `pause_s`: longer where a look is a process."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(pause_s)
