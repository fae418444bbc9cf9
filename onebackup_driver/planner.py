# SPDX-License-Identifier: Apache-2.0
"""The plan of one run of the timer, made from what the front-end shows now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from onebackup_driver import app, pool, schedule
from onebackup_driver.app import Marketplace
from onebackup_driver.frontend import FrontEnd
from onebackup_driver.pool_vm import PoolVm
from onebackup_driver.retry import Failure
from onebackup_driver.schedule import Circumstances, Decision
from onebackup_driver.site_rules import Configuration


@dataclass(frozen=True)
class Plan:
    """`decisions`: those to be run first, in order. `machines`: all VMs with BACKUP or ONEBACKUP. `total`: all VMs."""

    decisions: list[Decision]
    machines: list[PoolVm]
    total: int


def of_pool(
    front_end: FrontEnd,
    site: Configuration,
    failures: Mapping[int, Failure],
    now: int,
    requests: Optional[Mapping[int, str]] = None,
    marketplaces: Optional[Mapping[int, Marketplace]] = None,
    busy: frozenset[int] = frozenset(),
    newest: Optional[Mapping[tuple[int, int, int], int]] = None,
    own_uids: frozenset[int] = frozenset({0}),
) -> Plan:
    """Read the pool and decide. `requests`: VM id -> why, of the requests in the queue. `busy`: VMs that are being
    backed up. `newest`: see Circumstances; `own_uids`: whose restore points count besides the VM's owner's."""
    found = pool.read(front_end)
    around = Circumstances(site, now, failures, requests or {}, marketplaces, busy, newest or {}, own_uids)
    return Plan(schedule.plan(found.machines, around), found.machines, found.total)


def marketplaces(front_end: FrontEnd) -> dict[int, Marketplace]:
    """All marketplaces by their ids."""
    element = front_end.element("one.marketpool.info")
    found = [app.parse_marketplace(item) for item in element.findall("MARKETPLACE")]
    return {item.marketplace_id: item for item in found}
