# SPDX-License-Identifier: Apache-2.0
"""The servers of a demonstration in one background process, so that they can outlive it.

STATE/pid names the process while it runs; STATE/ready.json says where its servers are.
"""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox.demo import depot

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


class KeeperFailed(Exception):
    """The servers did not start or did not stop; the text is one line."""


@dataclass(frozen=True)
class Place:
    """Where the servers of a demonstration are."""

    endpoint: str
    auth_file: str
    location: str
    repository: str
    gateway: str

    @property
    def environment(self) -> dict[str, str]:
        return depot.environment(self.endpoint, Path(self.auth_file), Path(self.location))


def start(state: Path, version: str) -> Place:
    """Start front-end and gateway on a fresh state directory; stop what ran there before."""
    stop(state)
    if state.exists():
        shutil.rmtree(state)
    state.mkdir(parents=True)
    with open(state / "keeper.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.demo.keeper", str(state), version],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    (state / "pid").write_text(f"{process.pid}\n")
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (state / "ready.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            stop(state)
            raise KeeperFailed(f"the sandbox did not start: {last_line(state / 'keeper.log')}")
        time.sleep(0.05)
    return Place(**json.loads((state / "ready.json").read_text()))


def stop(state: Path) -> bool:
    """Stop the servers that belong to a state directory; False when none run."""
    pid = running_pid(state)
    if pid is None:
        (state / "pid").unlink(missing_ok=True)
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while running_pid(state) is not None:
        if time.monotonic() > deadline:
            raise KeeperFailed(f"process {pid} does not stop")
        time.sleep(0.05)
    (state / "pid").unlink(missing_ok=True)
    return True


def running_pid(state: Path) -> int | None:
    """The keeper's process id; None when it is gone or the id belongs to another program now."""
    try:
        pid = int((state / "pid").read_text())
        os.waitpid(pid, os.WNOHANG)  # a dead child of ours stays visible in /proc until it is fetched
    except (FileNotFoundError, ValueError):
        return None
    except ChildProcessError:
        pass
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return pid if b"sandbox.demo.keeper" in command and os.fsencode(state) in command else None


def last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1]} (log: {path})" if lines else f"no output in {path}"


def serve(state: Path, version: str) -> None:
    """Run the servers until SIGTERM."""
    from sandbox import process

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    location = state / "one"
    with process.start(location, version) as front_end:
        depot.install_driver(location, location / "remotes")
        own = depot.environment(front_end.endpoint, front_end.auth_file, location)
        with depot.gateway(location, own) as url:
            place = Place(front_end.endpoint, str(front_end.auth_file), str(location), str(state / "repository"), url)
            announce(state, place)
            while True:
                signal.pause()


def announce(state: Path, place: Place) -> None:
    """Say where everything is, once it is there."""
    partial = state / "ready.json.partial"
    partial.write_text(json.dumps(asdict(place)))
    partial.rename(state / "ready.json")


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2])
