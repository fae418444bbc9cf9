# SPDX-License-Identifier: Apache-2.0
"""Marketplace apps: allocation with import of an image, update, deletion, apps listed by a monitor."""

from __future__ import annotations

import base64
import logging
from typing import Optional

from sandbox.core import errors, names, rights
from sandbox.core.caller import SYSTEM, Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record, add_id, now, remove_id
from sandbox.core.template import Template
from sandbox.core.template_text import TemplateSyntax
from sandbox.machines import drivers, imports
from sandbox.objects import generic, images, infrastructure, markets, render
from sandbox.world import market_drivers

READY, LOCKED, ERROR, DISABLED = 1, 2, 3, 4
TYPES = {"IMAGE": 1, "VMTEMPLATE": 2, "SERVICE_TEMPLATE": 3}
KEPT_OUT = ("SOURCE", "SIZE", "MD5", "FORMAT", "REGTIME")
MISSED_MONITORS = 3


@method("one.marketapp.allocate", "si")
def allocate(front: Front, caller: Caller, text: str, market_id: int) -> int:
    template = generic.parsed(text)
    rights.require_create(caller, "marketapp")
    market = front.find("market", market_id)
    if market is None:
        number = f" ID = {market_id}" if front.settings.modern else ""
        raise errors.internal(f"Cannot find associated MARKETPLACE{number}")
    rights.require(caller, rights.USE, market)
    if market["market_mad"] in markets.MONITOR_ONLY:
        raise errors.action(f"Create disabled for market: {market.name}")
    problem = _problem(front, caller, template)
    if problem:
        raise names.allocation_error("marketapp", problem, front.settings.modern)
    market_xml = render.market(front, market)
    record = _make(front, caller, market, template)
    if record["type"] == TYPES["IMAGE"]:
        _start_import(front, record, market_xml)
    return record.id


def _problem(front: Front, caller: Caller, template: Template) -> Optional[str]:
    problem = front.check_name("marketapp", template.get("NAME"), caller.uid)
    if problem:
        return problem
    if not template.storable():
        return "Error transforming the marketplace app to XML."
    return None if template.has("ORIGIN_ID") else "Missing ORIGIN_ID for the MARKETPLACEAPP"


def _make(front: Front, caller: Caller, market: Record, template: Template) -> Record:
    name = template.take("NAME")
    for key in (*KEPT_OUT, "ZONE_ID"):
        template.remove(key)
    kind = TYPES.get(template.get("TYPE", "IMAGE"), 0)
    origin = template.number("ORIGIN_ID", 0)
    template.remove("ORIGIN_ID")
    record = infrastructure.owned(front, caller, "marketapp", name, template, {})
    record.fields = {"regtime": now(), "zone_id": 0, "origin_id": origin, "source": "", "md5": "", "size": 0,
                     "description": template.get("DESCRIPTION"), "version": template.get("VERSION") or "0.0",
                     "format": "", "apptemplate64": template.get("APPTEMPLATE64"), "marketplace_id": market.id,
                     "marketplace": market.name, "state": LOCKED if kind == 1 else READY, "type": kind}
    add_id(market["apps"], record.id)
    front.save(market)
    return record


def _start_import(front: Front, record: Record, market_xml: str) -> None:
    image = front.find("image", record["origin_id"])
    problem = "Image does not exist." if image is None else images.clone_problem(image)
    if image is None or problem:
        record["state"] = ERROR
        record.template.set_error(str(problem))
        front.save(record)
        raise errors.internal(str(problem))
    documents = [render.marketapp(front, record), market_xml, render.image(front, image)]
    datastore = front.find("datastore", image["datastore_id"])
    if datastore is not None:
        documents.append(render.datastore(front, datastore))
    images.start_clone(front, image, app_id=record.id)
    request = drivers.market_request(front, documents)
    front.spawn(f"import {record.id}", lambda: imports.import_app(front, record.id, request))


def _after_update(front: Front, caller: Caller, record: Record, template: Template) -> None:
    for field in ("description", "apptemplate64", "version"):
        record[field] = template.get(field.upper(), record[field])
    for key in (*KEPT_OUT, "ORIGIN_ID"):
        template.remove(key)


generic.AFTER_UPDATE["marketapp"] = _after_update


@method("one.marketapp.delete", "i")
def delete(front: Front, caller: Caller, app_id: int) -> int:
    record = front.get("marketapp", app_id)
    rights.require(caller, rights.MANAGE, record)
    market = front.find("market", record["marketplace_id"])
    if market is None:
        what = f" ID = {record['marketplace_id']}" if front.settings.modern else "MARKETPLACE"
        raise errors.action(f"Cannot delete marketplaceapp. Cannot find associated {what}")
    if market["market_mad"] in markets.MONITOR_ONLY:
        raise errors.action(f"Cannot delete marketplaceapp. Delete disabled for market: {market.name}")
    remove(front, record, market)
    return app_id


def remove(front: Front, record: Record, market: Record) -> None:
    """Drops the app; the driver deletes its data afterwards, and only the log knows if it cannot."""
    if record["state"] == LOCKED:
        images.release_app(front, record["origin_id"], record.id)
    request = drivers.market_request(front, [render.marketapp(front, record), render.market(front, market)])
    remove_id(market["apps"], record.id)
    front.save(market)
    front.drop(record)
    if record["type"] == TYPES["IMAGE"]:
        mad = market["market_mad"]
        front.spawn(f"delete app {record.id}", lambda: _delete_data(front, mad, request, record.id))


def _delete_data(front: Front, mad: str, request: bytes, app_id: int) -> None:
    front.wait("delete")
    try:
        market_drivers.delete_app(mad, front.settings.remotes, request, app_id,
                                  environment=drivers.environment(front), version=front.settings.version)
    except market_drivers.DriverFailed as error:
        logging.error("[MKP] %s", error.message)


@method("one.marketapp.enable", "ib")
def enable(front: Front, caller: Caller, app_id: int, on: bool) -> int:
    record = front.get("marketapp", app_id)
    rights.require(caller, rights.MANAGE, record)
    if record["state"] in (READY, DISABLED):
        record["state"] = READY if on else DISABLED
    front.save(record)
    return app_id


def import_listed(front: Front, market: Record, listed: list[str]) -> None:
    """What a monitor's APP lines do: apps are made or updated by name, those missing three times are dropped."""
    seen = set()
    for text in listed:
        try:
            template = Template.parse(base64.b64decode(text).decode())
        except (TemplateSyntax, ValueError):
            logging.error("[MKP] Error processing MONITOR message from driver")
            continue
        seen.add(_upsert(front, market, template))
    for app_id in list(market["apps"]):
        app = front.get("marketapp", app_id)
        app["missed"] = 0 if app_id in seen else app.get("missed", 0) + 1
        if app["missed"] >= MISSED_MONITORS:
            remove_id(market["apps"], app_id)
            front.drop(app)


def _upsert(front: Front, market: Record, template: Template) -> int:
    name = template.get("NAME")
    record = front.by_name("marketapp", name, 0)
    if record is None:
        values = {key: template.get(key) for key in KEPT_OUT}
        template.set("ORIGIN_ID", "-1")
        record = _make(front, SYSTEM, market, template)
        record.rights = [1, 1, 0, 1, 0, 0, 1, 0, 0]
    elif record["marketplace_id"] != market.id:
        return record.id
    else:
        values = {key: template.get(key) for key in KEPT_OUT}
    size = int(values["SIZE"]) if values["SIZE"].isdigit() else 0
    record.fields.update(source=values["SOURCE"], md5=values["MD5"], size=size, format=values["FORMAT"], state=READY)
    front.save(record)
    return record.id
