# SPDX-License-Identifier: Apache-2.0
"""An image on its way into a marketplace: export from the datastore, the market driver, the app's new state."""

from __future__ import annotations

import logging
from pathlib import Path

from sandbox.core import xml_text
from sandbox.core.front import Front
from sandbox.machines import drivers
from sandbox.objects import images
from sandbox.world import datastore_drivers, market_drivers

READY, LOCKED, ERROR = 1, 2, 3


def import_app(front: Front, app_id: int, request: bytes) -> None:
    """Runs on a thread of its own; ends with the app READY or ERROR and the image released."""
    front.wait("import")
    with front.transaction():
        app = front.find("marketapp", app_id)
        image = front.find("image", app["origin_id"]) if app else None
        market = front.find("market", app["marketplace_id"]) if app else None
    if app is None or image is None or market is None:
        return
    try:
        if front.faults.fails("import"):
            raise market_drivers.DriverFailed("Error importing app into marketplace: Failed on request")
        information = datastore_drivers.export(Path(image["source"]), image["size"])
        document = xml_text.pretty(market_drivers.with_import_info(request, information).decode()) + "\n"
        result = market_drivers.import_app(
            market["market_mad"], front.settings.remotes, document.encode(), app_id,
            environment=drivers.environment(front), version=front.settings.version)
    except market_drivers.DriverFailed as error:
        _failed(front, app_id, error.message)
        return
    _finished(front, app_id, result)


def _failed(front: Front, app_id: int, message: str) -> None:
    with front.transaction():
        app = front.find("marketapp", app_id)
        if app is None:
            return
        images.release_app(front, app["origin_id"], app_id)
        app["state"] = ERROR
        app.template.set_error(message)
        front.save(app)
    logging.error("[MKP] %s", message)


def _finished(front: Front, app_id: int, result: market_drivers.ImportResult) -> None:
    with front.transaction():
        app = front.find("marketapp", app_id)
        if app is None:
            logging.error("[MKP] Marketplace app successfully imported but it no longer exists. "
                          "You may need to manually remove: %s", result.source)
            return
        images.release_app(front, app["origin_id"], app_id)
        app.fields.update(source=result.source, md5=result.md5, size=result.size_mb, format=result.format, state=READY)
        front.save(app)


def abandoned(front: Front) -> None:
    """After a restart: imports that were under way ended with the process."""
    for app in front.all("marketapp"):
        if app["state"] == LOCKED:
            _failed(front, app.id, "Error importing app into marketplace: -")
