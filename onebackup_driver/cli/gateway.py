# SPDX-License-Identifier: Apache-2.0
"""onebackup gateway"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from dataclasses import replace

from onebackup_driver import configuration, errors, paths, privileges
from onebackup_driver.site_rules import Configuration


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "gateway", help="serve the disks in onebackup's own marketplaces to OpenNebula (a systemd service)"
    )
    parser.add_argument("--port", type=int, metavar="N", help="another port than in onebackup.yaml; 0: any free one")
    parser.add_argument("-v", "--verbose", action="store_true", help="log every request")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    where = paths.find()
    site = configuration.load(where.configuration)
    if site.state_directory:
        where = paths.with_state(where, site.state_directory)
    privileges.drop_to_owner_of(where.state)
    rules = site.gateway if arguments.port is None else replace(site.gateway, port=arguments.port)
    level = logging.INFO if arguments.verbose else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s: %(message)s")
    logging.captureWarnings(True)
    try:
        asyncio.run(_until_told(replace(site, gateway=rules), where))
    except (OSError, OverflowError) as error:
        what = f"the gateway cannot listen on {rules.address} port {rules.port}"
        raise errors.Failed(f"{what}: {errors.in_words(error)}") from error
    return errors.EXIT_DONE


async def _until_told(site: Configuration, where: paths.Paths) -> None:
    from onebackup_driver.gateway import learning, points, server

    known = points.Points(where, learning.Learner(where, site))
    serving = asyncio.ensure_future(server.run(site.gateway, known, lambda url: print(f"ready {url}", flush=True)))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        pass
