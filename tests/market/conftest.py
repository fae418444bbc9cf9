# SPDX-License-Identifier: Apache-2.0
"""`front`: a front-end's state directory with an empty repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.market.driving import Front


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    made = Front(tmp_path / "one", {"REPOSITORY": f"dir:{tmp_path / 'repository'}"})
    made.configure()
    assert made.onebackup("repository", "create", made.market["REPOSITORY"]).code == 0
    yield made
    if made.process is not None:
        made.stop_gateway()
