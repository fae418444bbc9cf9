# SPDX-License-Identifier: Apache-2.0
"""The driver as oned starts it, and the gateway, as real processes around a state directory of the test's own."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

import yaml

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120.0
TAGS = {"RUN": "0" * 32, "ROLE": "disk", "VM_ID": "7", "VM_NAME": "web", "DISK_ID": "0"}


@dataclass(frozen=True)
class Answer:
    """How an action ended."""

    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """The one line on stderr of a failure; stdout must be empty."""
        assert self.code != 0 and self.out == "", self
        (line,) = self.err.splitlines()
        assert not re.match(r"(ERROR|INFO|WARN|DEBUG): ", line), line
        return line

    @property
    def values(self) -> dict[str, str]:
        """The attributes on stdout of a success."""
        assert (self.code, self.err) == (0, ""), self
        return dict(re.findall(r'^(\w+)="([^"]*)"$', self.out, re.MULTILINE))


@dataclass
class Front:
    """A front-end's state directory, with the driver and at most one gateway. `market`: its template."""

    folder: Path
    market: dict[str, str] = field(default_factory=dict)
    url: str = ""
    process: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHONUNB"))}
        return {**kept, "ONE_LOCATION": str(self.folder), "HOME": str(self.folder)}

    @property
    def state(self) -> Path:
        return self.folder / "var" / "onebackup"

    def configure(self, **options: object) -> None:
        (self.folder / "etc").mkdir(parents=True, exist_ok=True)
        (self.folder / "var").mkdir(exist_ok=True)
        (self.folder / "etc" / "onebackup.yaml").write_text(yaml.safe_dump(options))

    def begin(self, action: str, xml: str, object_id: int = 5) -> subprocess.Popen[str]:
        word = base64.b64encode(xml.encode()).decode()
        argv = [sys.executable, "-I", str(ROOT / "remotes" / "market" / "onebackup" / action), word, str(object_id)]
        return self._start(argv)

    def _start(self, argv: list[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def run(self, action: str, xml: str) -> Answer:
        return ended(self.begin(action, xml))

    def import_(self, path: Path, image_format: str, name: str = "app", **tags: str) -> Answer:
        return self.run("import", self.import_xml(path, image_format, name, **tags))

    def import_xml(self, path: object, image_format: str, name: str = "app", more: str = "", **tags: str) -> str:
        app = self.app_xml(name, {**TAGS, **tags})
        datastore = f"<DATASTORE><BASE_PATH>{Path(str(path)).parent}</BASE_PATH></DATASTORE>"
        dispose = more or "<DISPOSE>NO</DISPOSE><DISPOSE_CMD/>"
        found = f"<IMPORT_SOURCE>{path}</IMPORT_SOURCE><MD5>-</MD5><SIZE>1</SIZE><FORMAT>{image_format}</FORMAT>"
        return wrapped(app + self.market_xml() + "<IMAGE><ID>3</ID></IMAGE>" + datastore + found + dispose)

    def app_xml(self, name: str = "app", tags: dict[str, str] | None = None, source: str = "") -> str:
        inside = "".join(f"<{key}><![CDATA[{value}]]></{key}>" for key, value in (tags or {}).items())
        return (
            f"<MARKETPLACEAPP><ID>5</ID><UID>0</UID><GID>0</GID><NAME>{escape(name)}</NAME><ZONE_ID>0</ZONE_ID>"
            f"<SOURCE>{source}</SOURCE>"
            f"<VERSION>1.0</VERSION><DESCRIPTION/><APPTEMPLATE64>VFlQRT1PUw==</APPTEMPLATE64><STATE>2</STATE>"
            f"<TYPE>1</TYPE><TEMPLATE><ONEBACKUP>{inside}</ONEBACKUP><TYPE>IMAGE</TYPE></TEMPLATE></MARKETPLACEAPP>"
        )

    def market_xml(self) -> str:
        inside = "".join(f"<{key}><![CDATA[{value}]]></{key}>" for key, value in self.market.items())
        return (
            "<MARKETPLACE><ID>100</ID><NAME>m</NAME><MARKET_MAD>onebackup</MARKET_MAD><STATE>0</STATE>"
            f"<TEMPLATE>{inside}</TEMPLATE></MARKETPLACE>"
        )

    def delete(self, source: str) -> Answer:
        return self.run("delete", wrapped(self.app_xml(source=source) + self.market_xml()))

    def monitor(self) -> Answer:
        return self.run("monitor", wrapped(self.market_xml()))

    def onebackup(self, *arguments: object) -> Answer:
        return ended(self._start([str(Path(sys.executable).with_name("onebackup")), *map(str, arguments)]))

    def start_gateway(self) -> str:
        """Start it on a free port, or on the one it had; its URL."""
        port = self.url.rsplit(":", 1)[1] if self.url else "0"
        argv = [str(Path(sys.executable).with_name("onebackup")), "gateway", "--port", port]
        log = open(self.folder / "gateway.log", "a")  # noqa: SIM115
        self.process = subprocess.Popen(
            argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
        )
        log.close()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), (self.folder / "gateway.log").read_text()
        self.url = line.split()[1]
        return self.url

    def stop_gateway(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    def served(self, source: str) -> str:
        """The URL of a SOURCE at the test's gateway, which listens on another port than SOURCE says."""
        return self.url + re.sub(r"^https?://[^/]+", "", source)


def wrapped(inside: str) -> str:
    return f"<MARKET_DRIVER_ACTION_DATA>{inside}</MARKET_DRIVER_ACTION_DATA>"


def ended(process: subprocess.Popen[str]) -> Answer:
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
            process.communicate()
    return Answer(process.returncode, out, err)
