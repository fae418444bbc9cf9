# SPDX-License-Identifier: Apache-2.0
"""`site` as in the stories, with a victim who has a restore point and an attacker who has a VM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deputy import tenants
from tests.deputy.tenants import Belongings, Tenant
from tests.e2e import checks
from tests.e2e.conftest import proxy, site
from tests.e2e.site import Site

__all__ = ["proxy", "site"]

#: Cases of one test that run unless DEPUTY_TESTS=all (make deputy): the same ones each time.
SAMPLE = 1
SAMPLES = {"test_the_line_helps": 6}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("DEPUTY_TESTS") == "all":
        return
    families: dict[tuple[Path, str], list[pytest.Item]] = {}
    for item in items:
        if Path(__file__).parent in item.path.parents:
            families.setdefault((item.path, item.name.partition("[")[0]), []).append(item)
    left_out = [item for (_, name), family in families.items() for item in _left_out(family, SAMPLES.get(name, SAMPLE))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _left_out(family: list[pytest.Item], kept: int) -> list[pytest.Item]:
    places = {number * len(family) // kept for number in range(kept)} if len(family) > kept else range(len(family))
    return [item for number, item in enumerate(family) if number not in places]


@dataclass(frozen=True)
class Victim:
    """A tenant with a running VM that was backed up: `app_ids` are its restore point."""

    tenant: Tenant
    vm_id: int
    app_ids: list[int]
    before: Belongings

    @property
    def run(self) -> str:
        """The run id of the restore point, which everybody can read."""
        return checks.tags(self.tenant.site, self.app_ids[-1])["RUN"]


@pytest.fixture
def victim(site: Site) -> Iterator[Victim]:
    """Looked at before and after the test."""
    made = victim_of(site)
    yield made
    tenants.untouched(site, made.before)


def victim_of(site: Site) -> Victim:
    tenant = tenants.new(site, "victim")
    vm_id = tenant.machine()
    app_ids = checks.backed_up(site, vm_id)
    return Victim(tenant, vm_id, app_ids, tenants.belongings(site, vm_id, app_ids))


@pytest.fixture
def attacker(site: Site) -> Tenant:
    return tenants.new(site, "attacker")
