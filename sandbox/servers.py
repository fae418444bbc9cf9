# SPDX-License-Identifier: Apache-2.0
"""The servers that a marketplace needs around it, real ones, on loopback, for the demonstration and tests.

    with servers.http_server(public_dir) as web:      web.url          (nginx, or apache2)
    with servers.s3_server(directory) as store:       store.endpoint … (Ceph radosgw in memory, or SeaweedFS)

All that they write is below one directory. They are killed with the context, and by a watchdog when this
process ends without leaving it (SIGTERM, SIGKILL). They run as root and as an ordinary user.
"""
from __future__ import annotations

import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from sandbox.world import ceph, ports, seaweedfs, web_server
from sandbox.world.watchdog import Watchdog

ACCESS_KEY = "SANDBOXACCESSKEY"
SECRET_KEY = "sandbox-secret-key-0123456789"
_START_TIMEOUT_S = 90.0
_ATTEMPTS = 3
_TEMPORARY = "sandbox-server-"


class ServerMissing(Exception):
    """No program for this kind of server is installed; `packages` are the names of Debian packages."""

    def __init__(self, kind: str, packages: Sequence[str]) -> None:
        super().__init__(f"no {kind} server installed: apt-get install {' '.join(packages)}")
        self.packages = tuple(packages)


class ServerFailed(Exception):
    """A server did not come up; the text ends with what it logged last."""


@dataclass(frozen=True)
class HttpServer:
    """A running web server: `url` ends with a slash, `access_log` is written by nginx only."""

    url: str
    port: int
    public_dir: Path
    access_log: Path


@dataclass(frozen=True)
class S3Server:
    """A running S3 server (path style, any region): `implementation` is "ceph" or "seaweedfs"."""

    endpoint: str
    port: int
    access_key: str
    secret_key: str
    implementation: str
    region: str = "us-east-1"


@contextmanager
def http_server(public_dir: Path, port: int = 0, directory: Optional[Path] = None) -> Iterator[HttpServer]:
    """Serve a directory over HTTP. Raises ServerMissing, ServerFailed.

    `directory` holds configuration and logs, by default a temporary one. The files served must be readable
    by the user we run as.
    """
    def start(watchdog: Watchdog, place: Path, number: int) -> None:
        _start_http(watchdog, place, public_dir, number)

    with _workplace(directory) as place, _started(start, port, place) as number:
        yield HttpServer(f"http://127.0.0.1:{number}/", number, public_dir, place / "access.log")


@contextmanager
def s3_server(
    directory: Optional[Path] = None, port: int = 0, implementation: Optional[str] = None
) -> Iterator[S3Server]:
    """Start an S3 server with one user and no bucket. Raises ServerMissing, ServerFailed.

    `implementation`: "ceph", "seaweedfs" or None for whichever is installed, in this order.
    """
    chosen = implementation or _installed_s3()
    start = _start_ceph if chosen == "ceph" else _start_seaweedfs
    with _workplace(directory) as place, _started(start, port, place) as number:
        yield S3Server(f"http://127.0.0.1:{number}", number, ACCESS_KEY, SECRET_KEY, chosen)


def _installed_s3() -> str:
    if not ceph.missing_programs():
        return "ceph"
    if seaweedfs.program():
        return "seaweedfs"
    raise ServerMissing("S3", ceph.PACKAGES)


@contextmanager
def _workplace(directory: Optional[Path]) -> Iterator[Path]:
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        yield directory.resolve()
        return
    temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_Start = Callable[[Watchdog, Path, int], None]


@contextmanager
def _started(start: _Start, port: int, place: Path) -> Iterator[int]:
    """Start on the given port, or on a free one (again on another when somebody took it meanwhile)."""
    if port and not ports.is_free(port):
        raise ServerFailed(f"port {port} is taken")
    for attempt in range(1, _ATTEMPTS + 1):
        number = port or ports.free()
        watchdog = Watchdog(place if place.name.startswith(_TEMPORARY) else None)
        try:
            start(watchdog, place, number)
            break
        except BaseException as error:
            watchdog.kill()
            if attempt == _ATTEMPTS or port or not isinstance(error, (OSError, ServerFailed)):
                raise
            _empty(place)
    try:
        yield number
    finally:
        watchdog.kill()


def _start_http(watchdog: Watchdog, place: Path, public_dir: Path, port: int) -> None:
    public_dir.mkdir(parents=True, exist_ok=True)
    argv = web_server.command(place, public_dir, port)
    if argv is None:
        raise ServerMissing("HTTP", ["nginx-light"])
    watchdog.spawn(argv, place / "server.log", place)
    _await(watchdog, lambda: ports.answers(port), place)


def _start_ceph(watchdog: Watchdog, place: Path, port: int) -> None:
    if ceph.missing_programs():
        raise ServerMissing("S3", ceph.PACKAGES)
    try:
        ceph.start(watchdog, place, port)
        _await(watchdog, lambda: _answers_http(port), place)
        ceph.add_user(place, ACCESS_KEY, SECRET_KEY)
    except OSError as error:
        raise ServerFailed(str(error)) from error


def _start_seaweedfs(watchdog: Watchdog, place: Path, port: int) -> None:
    if not seaweedfs.program():
        raise ServerMissing("S3", ceph.PACKAGES)
    seaweedfs.start(watchdog, place, port, ACCESS_KEY, SECRET_KEY)
    _await(watchdog, lambda: _answers_http(port), place)


def _await(watchdog: Watchdog, ready: Callable[[], bool], place: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not ready():
        dead = watchdog.first_dead()
        if dead is not None:
            raise ServerFailed(f"{dead.args!r} ended with {dead.returncode}: {_last_words(place)}")
        if time.monotonic() > deadline:
            raise ServerFailed(f"not up after {_START_TIMEOUT_S:.0f} s: {_last_words(place)}")
        time.sleep(0.02)


def _answers_http(port: int) -> bool:
    """Return whether S3 answers an unsigned request (with 200 or a refusal)."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code == 403
    except OSError:
        return False


def _last_words(place: Path) -> str:
    logs = sorted([*place.glob("*.log"), *place.glob("log/*.out")])
    return " | ".join(f"{log.name}: {log.read_text(errors='replace')[-400:]}" for log in logs)


def _empty(place: Path) -> None:
    for entry in place.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()
