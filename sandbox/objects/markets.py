# SPDX-License-Identifier: Apache-2.0
"""Marketplaces: drivers known to the front-end, deletion by version, and their monitoring."""

from __future__ import annotations

import logging
import time

from sandbox.core import errors, names, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.machines import drivers
from sandbox.objects import generic, infrastructure, render
from sandbox.world import market_drivers

ENABLED, DISABLED = 0, 1
REQUIRED = {"http": ("BASE_URL", "PUBLIC_DIR"), "s3": ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION", "BUCKET"),
            "one": (), "linuxcontainers": (), "turnkeylinux": (), "dockerhub": ()}
#: Of drivers that are not OpenNebula's own: what their MARKET_MAD_CONF says.
REQUIRED_OF_OTHERS = {"onebackup": ("REPOSITORY",)}
MONITOR_ONLY = ("one", "linuxcontainers", "turnkeylinux", "dockerhub")


def make(front: Front, caller: Caller, name: str, template: Template) -> Record:
    record = infrastructure.owned(front, caller, "market", name, template, {})
    record.fields = {"state": ENABLED, "market_mad": template.get("MARKET_MAD"), "total_mb": 0, "free_mb": 0,
                     "used_mb": 0, "apps": []}
    return record


def _problem(front: Front, template: Template) -> str:
    mad = template.get("MARKET_MAD")
    if not mad:
        return "Missing MARKET_MAD in template."
    if mad not in REQUIRED and mad not in market_drivers.available(front.settings.remotes):
        return f'MARKET_MAD_CONF named "{mad}" is not defined in oned.conf'
    for name in REQUIRED.get(mad, REQUIRED_OF_OTHERS.get(mad, ())):
        if not template.get(name):
            return f"Marketplace template is missing the \"{name}\" attribute or it's empty."
    return ""


@method("one.market.allocate", "s")
def allocate(front: Front, caller: Caller, text: str) -> int:
    template = generic.parsed(text)
    rights.require_create(caller, "market")
    name = template.take("NAME")
    problem = front.check_name("market", name, -1) or _problem(front, template)
    if problem:
        raise names.allocation_error("market", problem, front.settings.modern)
    template.remove("ZONE_ID")
    return make(front, caller, name, template).id


@method("one.market.delete", "i")
def delete(front: Front, caller: Caller, market_id: int) -> int:
    record = front.get("market", market_id)
    rights.require(caller, rights.MANAGE, record)
    if record["apps"]:
        if front.settings.modern:
            raise errors.action(f"Cannot delete marketplace. marketplace  {market_id} is not empty.")
        _delete_apps(front, caller, record)
    front.drop(record)
    return market_id


def _delete_apps(front: Front, caller: Caller, record: Record) -> None:
    from sandbox.objects import apps

    if record["market_mad"] in MONITOR_ONLY:
        for app_id in list(record["apps"]):
            front.drop(front.get("marketapp", app_id))
        return
    failed = []
    for app_id in list(record["apps"]):
        app = front.find("marketapp", app_id)
        if app is not None and rights.allowed(caller, rights.MANAGE, app) and not rights.locked(app, rights.MANAGE):
            apps.remove(front, app, record)
        else:
            failed.append(f"Cannot remove marketplaceapp {app_id} from marketplace. ")
    if failed:
        raise errors.action("Cannot delete marketplace. " + "".join(failed))


@method("one.market.enable", "ib")
def enable(front: Front, caller: Caller, market_id: int, on: bool) -> int:
    record = front.get("market", market_id)
    rights.require(caller, rights.MANAGE, record)
    record["state"] = ENABLED if on else DISABLED
    front.save(record)
    return market_id


#: Between two looks at one market, in real seconds whatever the speed: oned's MONITORING_INTERVAL_MARKET.
MONITOR_PAUSE_S = 600.0
_last_monitored: dict[int, float] = {}


def monitor_all(front: Front) -> None:
    """One round of monitoring; a driver that fails leaves the old numbers."""
    with front.transaction():
        work = [(record.id, record["market_mad"], drivers.market_request(front, [render.market(front, record)]))
                for record in front.all("market") if record["state"] == ENABLED and _is_monitor_due(record.id)]
    for market_id, mad, request in work:
        if mad in MONITOR_ONLY or front.stopping.is_set():
            continue
        try:
            result = market_drivers.monitor(mad, front.settings.remotes, request, market_id,
                                            environment=drivers.environment(front), version=front.settings.version)
        except market_drivers.DriverFailed as error:
            logging.error("[MKP] %s", error.message)
            continue
        with front.transaction():
            _store(front, market_id, result)


def _is_monitor_due(market_id: int) -> bool:
    """A new market at once, then every now and then: each look is a process, and a test makes many markets."""
    now = time.monotonic()
    if now - _last_monitored.get(market_id, -MONITOR_PAUSE_S) < MONITOR_PAUSE_S:
        return False
    _last_monitored[market_id] = now
    return True


def _store(front: Front, market_id: int, result: market_drivers.MonitorResult) -> None:
    from sandbox.objects import apps

    record = front.find("market", market_id)
    if record is None:
        return
    record.fields.update(total_mb=result.total_mb, free_mb=result.free_mb, used_mb=result.used_mb)
    front.save(record)
    if result.app_templates:
        apps.import_listed(front, record, result.app_templates)
