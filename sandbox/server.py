# SPDX-License-Identifier: Apache-2.0
"""Puts an emulated front-end together: database, objects, background loops, HTTP server."""

from __future__ import annotations

import logging

from sandbox import bootstrap
from sandbox.core import auth
from sandbox.core.front import Front
from sandbox.core.rpc_server import Server
from sandbox.core.settings import Settings
from sandbox.machines import recovery, scheduler
from sandbox.objects import (
    apps,
    datastores,
    generic,
    hooks,
    image_calls,
    infrastructure,
    markets,
    templates,
    users,
    vm_calls,
    vm_more,
    vms,
    vnets,
)

CALLS = (apps, datastores, generic, hooks, image_calls, infrastructure, markets, templates, users, vm_calls, vm_more,
         vms, vnets)

MONITOR_AT_MOST_EVERY_S = 2.0


def build(settings: Settings) -> Server:
    """A server that is bound but not serving yet; what an earlier run left unfinished is dealt with."""
    bootstrap.directories(settings.state)
    logging.basicConfig(filename=settings.state / "log" / "oned.log", level=logging.INFO,
                        format="%(asctime)s [Z0]%(message)s")
    front = Front(settings)
    bootstrap.populate(front, auth.write_one_auth(settings.state / ".one" / "one_auth"))
    server = Server(front, settings.port, hooks.after_call)
    front.endpoint = f"http://127.0.0.1:{server.server_address[1]}/RPC2"
    front.listeners.append(hooks.on_change)
    recovery.after_restart(front)
    waiting = scheduler.Scheduler(front)
    front.listeners.append(waiting.on_change)
    front.spawn("scheduler", waiting.run)
    front.spawn("monitor", lambda: _monitor(front))
    return server


def _monitor(front: Front) -> None:
    """Monitoring starts processes: however fast emulated time runs, it keeps a distance in real time."""
    while not front.stopping.wait(max(front.settings.seconds("market_monitor"), MONITOR_AT_MOST_EVERY_S)):
        markets.monitor_all(front)
        with front.transaction():
            for record in front.all("datastore"):
                datastores.measure(front, record)
                front.save(record)
