# SPDX-License-Identifier: Apache-2.0
"""`site`: a corner of the shared front-end for one test. `own_site`: a front-end of its own, which may be killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.process import FrontEnd
from tests.conftest import HttpMarket
from tests.e2e.proxy import Proxy
from tests.e2e.site import Site


@pytest.fixture
def site(front_end: FrontEnd, tmp_path: Path, http_market_server: HttpMarket) -> Iterator[Site]:
    made = Site(front_end, tmp_path, http_market_server)
    yield made
    made.close()


@pytest.fixture
def own_site(fresh_front_end: FrontEnd, tmp_path: Path, http_market_server: HttpMarket) -> Iterator[Site]:
    yield Site(fresh_front_end, tmp_path / "site", http_market_server)


@pytest.fixture
def proxy(site: Site) -> Iterator[Proxy]:
    """onebackup's calls of this test go through it."""
    with Proxy(site.front_end.endpoint) as started:
        site.endpoint = started.endpoint
        yield started
        site.endpoint = site.front_end.endpoint
    assert not started.problems, started.problems
