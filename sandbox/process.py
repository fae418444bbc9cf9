# SPDX-License-Identifier: Apache-2.0
"""Starting an emulated front-end as a process of its own, for tests and demonstrations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import xmlrpc.client
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

PROJECT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 30.0


class Refused(Exception):
    """A call that the front-end refused: its code and message."""

    def __init__(self, code: int, message: str, object_id: int = -1) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.object_id = object_id


class _Once(xmlrpc.client.Transport):
    """Python's transport sends a call again when the connection drops; a test must not make calls twice."""

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        return self.single_request(host, handler, request_body, verbose)


class FrontEnd:
    """A running emulator. `call` is a raw XML-RPC call, by default as oneadmin."""

    def __init__(self, state: Path, version: str, port: int, speed: float, remotes: Optional[Path]) -> None:
        self.state, self.version, self.port, self.speed, self.remotes = state, version, port, speed, remotes
        self.process: Optional[subprocess.Popen[str]] = None
        self.endpoint = ""
        self._start()

    def _start(self) -> None:
        argv = [sys.executable, "-m", "sandbox", "--version", self.version, "--port", str(self.port),
                "--state", str(self.state), "--speed", str(self.speed)]
        if self.remotes is not None:
            argv += ["--remotes", str(self.remotes)]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        self.state.mkdir(parents=True, exist_ok=True)
        with open(self.state / "stderr.txt", "a") as errors:
            self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.process.wait(START_TIMEOUT_S)
            raise RuntimeError(f"the sandbox did not start: {(self.state / 'stderr.txt').read_text()[-2000:]}")
        self.endpoint = line.split()[1]
        self.port = int(self.endpoint.rsplit(":", 1)[1].split("/")[0])

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def auth_file(self) -> Path:
        return self.state / ".one" / "one_auth"

    @property
    def session(self) -> str:
        return self.auth_file.read_text().strip()

    @property
    def environment(self) -> dict[str, str]:
        """What a client process needs in its environment."""
        return {"ONE_XMLRPC": self.endpoint, "ONE_AUTH": str(self.auth_file)}

    def call(self, method: str, *arguments: Any, session: Optional[str] = None) -> Any:
        """The value of a call; raises Refused, xmlrpc.client.Fault or OSError."""
        with xmlrpc.client.ServerProxy(self.endpoint, transport=_Once()) as proxy:
            answer: Any = getattr(proxy, method)(session or self.session, *arguments)
        if not answer[0]:
            raise Refused(answer[2], answer[1], answer[3] if len(answer) > 3 else -1)
        return answer[1]

    def control(self, command: str, **options: Any) -> Any:
        """A control command (see README of the team: fail, hang, drop, kill, next, slow, log …)."""
        body = json.dumps({"command": command, **options}).encode()
        url = self.endpoint.replace("/RPC2", "/control")
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ValueError(json.loads(error.read())["error"]) from None

    def kill(self) -> None:
        """SIGKILL: the emulator is gone at once, guests go on."""
        assert self.process is not None
        self.process.kill()
        self._reap()

    def restart(self) -> None:
        """Starts the emulator again on the same state and port (stopping it first when it runs)."""
        assert self.process is not None
        if self.process.poll() is None:
            self.stop_process()
        self._start()

    def stop_process(self) -> None:
        """SIGTERM and wait; guests go on."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        self._reap()

    def _reap(self) -> None:
        assert self.process is not None
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def close(self) -> None:
        """Ends the emulator and every guest of its VMs."""
        self.stop_process()
        for pid_file in (self.state / "datastores" / "0").glob("*/guest.pid"):
            _end_guest(pid_file.parent)

    def __enter__(self) -> FrontEnd:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()


def _end_guest(directory: Path) -> None:
    from sandbox.world import guest

    found = guest.find(directory)
    if found is not None:
        os.kill(found.pid, signal.SIGKILL)


def start(state: Path, version: str = "7.4", port: int = 0, speed: float = 1.0,
          remotes: Optional[Path] = None) -> FrontEnd:
    """A front-end that accepts calls; use it as a context manager."""
    return FrontEnd(Path(state), version, port, speed, remotes)
