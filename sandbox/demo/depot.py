# SPDX-License-Identifier: Apache-2.0
"""onebackup's own marketplace on the sandbox front-end, installed as on a real one: driver, configuration, gateway."""
from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_DOOR = """#!/bin/sh
ONE_LOCATION={location}; export ONE_LOCATION
exec {python} -I {script} "$@"
"""


class GatewayFailed(Exception):
    """The gateway did not start; the text is one line."""


def command() -> Path:
    """The program that is demonstrated."""
    return Path(sys.executable).with_name("onebackup")


def environment(endpoint: str, auth_file: Path, location: Path) -> dict[str, str]:
    """What tells onebackup that this front-end is the one it works for."""
    return {"ONE_XMLRPC": endpoint, "ONE_AUTH": str(auth_file), "ONE_LOCATION": str(location)}


def install_driver(location: Path, remotes: Path) -> None:
    """Where oned looks for drivers. A driver is told nothing of ONE_LOCATION, so its door says it."""
    folder = remotes / "market" / "onebackup"
    folder.mkdir(parents=True)
    for script in (PROJECT / "remotes" / "market" / "onebackup").iterdir():
        words = {"location": location, "python": sys.executable, "script": script}
        door = folder / script.name
        door.write_text(_DOOR.format(**{name: shlex.quote(str(word)) for name, word in words.items()}))
        door.chmod(0o755)


@contextmanager
def gateway(location: Path, own_environment: dict[str, str]) -> Iterator[str]:
    """Run the gateway on a port of its own; its URL. Raises GatewayFailed."""
    port = _free_port()
    (location / "etc").mkdir(exist_ok=True)
    (location / "var").mkdir(exist_ok=True)
    (location / "etc" / "onebackup.yaml").write_text(f"gateway:\n  port: {port}\n")
    process = subprocess.Popen(
        [str(command()), "gateway"], env={**os.environ, **own_environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        if words[:1] != ["ready"]:
            raise GatewayFailed("the gateway did not start")
        yield words[1]
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
