# SPDX-License-Identifier: Apache-2.0
"""Guards for all tests, and the servers they share.

`front_end` is one sandbox front-end per version for the whole session: a test makes its own objects
under names of its own. `fresh_front_end` is empty and belongs to one test. A test that is to run on
every version carries `@pytest.mark.both_versions`; without the mark it runs on the newest.
"""
from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sandbox import process

VERSIONS = ("6.4", "7.4")
# Emulated durations are divided by this: a poweroff takes milliseconds.
SPEED = 20.0
# Nothing of the developer's own OpenNebula, S3 or pip settings may reach a test.
FOREIGN_VARIABLES = ("ONE_", "ONEAPP_", "ONEBACKUP_", "AWS_", "PYTHONPATH", "http_proxy", "https_proxy")

_guarded_home = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "both_versions: run on every OpenNebula version the sandbox plays")
    home = Path(tempfile.mkdtemp(prefix="onebackup-tests-"))
    config.stash[_guarded_home] = home
    for name in list(os.environ):
        if name.startswith(FOREIGN_VARIABLES):
            del os.environ[name]
    os.environ.update(
        HOME=str(home),
        ONE_AUTH=str(home / "no-one_auth-here"),
        ONE_XMLRPC="http://127.0.0.1:9/RPC2",  # nothing listens there: a forgotten front-end is an error
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_guarded_home], ignore_errors=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "version" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_versions"):
        metafunc.parametrize("version", VERSIONS, indirect=True)


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """A command that a test ran within this process has set up where its log goes."""
    logger = logging.getLogger("onebackup")
    handlers, propagate = list(logger.handlers), logger.propagate
    yield
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers[:], logger.propagate = handlers, propagate


@pytest.fixture
def version(request: pytest.FixtureRequest) -> str:
    """The OpenNebula version of this test's front-end."""
    return str(getattr(request, "param", VERSIONS[-1]))


@pytest.fixture(scope="session")
def shared_front_ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, process.FrontEnd]]:
    running: dict[str, process.FrontEnd] = {}
    yield running
    for front_end in running.values():
        front_end.__exit__(None, None, None)


@pytest.fixture
def front_end(
    version: str,
    shared_front_ends: dict[str, process.FrontEnd],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[process.FrontEnd]:
    """A running front-end shared by the session; faults asked for by a test end with it."""
    from sandbox import process

    if version not in shared_front_ends:
        state = tmp_path_factory.mktemp(f"one-{version}")
        shared_front_ends[version] = process.start(state, version, speed=SPEED).__enter__()
    shared = shared_front_ends[version]
    yield shared
    try:
        shared.control("clear")
    except OSError:  # the test killed it: the next one gets a new one
        del shared_front_ends[version]
        shared.__exit__(None, None, None)


@pytest.fixture
def fresh_front_end(version: str, tmp_path: Path) -> Iterator[process.FrontEnd]:
    """A front-end with nothing in it but what a fresh installation has, for this test alone."""
    from sandbox import process

    with process.start(tmp_path / "one", version, speed=SPEED) as started:
        yield started


@dataclass(frozen=True)
class HttpMarket:
    """What the template of an `http` marketplace needs: PUBLIC_DIR and BASE_URL."""

    public_dir: Path
    url: str


@pytest.fixture(scope="session")
def shared_http_server() -> Iterator[HttpMarket]:
    from sandbox import servers

    # Not below pytest's own directories: those are closed to the user the server runs as.
    with tempfile.TemporaryDirectory(prefix="onebackup-public-", dir="/var/tmp") as name:
        public_dir = Path(name)
        public_dir.chmod(0o755)
        with servers.http_server(public_dir) as server:
            yield HttpMarket(public_dir, server.url.rstrip("/"))


@pytest.fixture
def http_market_server(shared_http_server: HttpMarket) -> HttpMarket:
    """A folder of this test's own, served by a real HTTP server on loopback."""
    folder = Path(tempfile.mkdtemp(dir=shared_http_server.public_dir))
    folder.chmod(0o755)
    return HttpMarket(folder, f"{shared_http_server.url}/{folder.name}")
