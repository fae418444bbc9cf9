# SPDX-License-Identifier: Apache-2.0
"""A VM that its owner made too large to be recorded is refused before it is touched, and holds nobody else up."""

from __future__ import annotations

from pathlib import Path

from sandbox.process import FrontEnd
from tests.conftest import HttpMarket
from tests.e2e import checks, machines
from tests.e2e.machines import Disk
from tests.e2e.site import Site


def test_a_vm_that_fits_into_no_app(front_end: FrontEnd, tmp_path: Path, http_market_server: HttpMarket) -> None:
    site = Site(front_end, tmp_path, http_market_server)
    try:
        large = machines.machine(site, (Disk(),), more=f'NOTE="{"x" * 5 * 2**20}"')
        small = machines.machine(site, (Disk(),), machines.POWEROFF)
        before = site.everything()
        refused = site.onebackup("backup", large)
        assert refused.code == 3 and "keeps at most 4096 KiB" in refused.error_line
        assert site.everything() == before and site.vm_state(large) == machines.RUNNING
        checks.good(site.onebackup("backup", small))
    finally:
        site.close()
