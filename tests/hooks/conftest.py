# SPDX-License-Identifier: Apache-2.0
"""`hooked`: a corner of the shared front-end whose hook manager runs our real scripts as processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.process import FrontEnd
from tests.conftest import HttpMarket
from tests.e2e.site import Site
from tests.hooks.hooked import Hooked


@pytest.fixture
def hooked(front_end: FrontEnd, tmp_path: Path, http_market_server: HttpMarket) -> Iterator[Hooked]:
    site = Hooked(Site(front_end, tmp_path, http_market_server))
    site.install()
    yield site
    site.uninstall()
    site.site.close()
