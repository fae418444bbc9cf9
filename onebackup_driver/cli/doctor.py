# SPDX-License-Identifier: Apache-2.0
"""onebackup doctor (also `install.sh --check`)"""

from __future__ import annotations

import argparse
import os

from onebackup_driver import errors, plain, privileges


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("doctor", help="is everything there that backups need, and what to do if not")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--hook-timeout",
        metavar="SECONDS",
        type=_seconds,
        default=10.0,
        help="how long the hook manager may take to answer (default 10)",
    )
    parser.set_defaults(run=_run)


def _seconds(text: str) -> float:
    if not text.replace(".", "", 1).isdigit() or not 0 < float(text) <= 3600:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number of seconds between 0 and 3600")
    return float(text)


def _run(arguments: argparse.Namespace) -> int:
    from onebackup_driver.doctor import examination, finding

    _become_oneadmin()
    found = []
    for item in examination.everything(arguments.hook_timeout):
        found.append(item)
        if not arguments.json:
            print(plain.line(str(item)), flush=True)
    if arguments.json:
        print(plain.document([finding.as_data(item) for item in found]))
    healthy = all(item.state != finding.PROBLEM for item in found)
    return errors.EXIT_DONE if healthy else errors.EXIT_ATTENTION


def _become_oneadmin() -> None:
    """As root everything could be read, and locks made that oneadmin cannot open: look with oneadmin's eyes."""
    from onebackup_driver.installation import locating

    if os.geteuid() != 0:
        return
    try:
        user = locating.find().user
    except errors.Error:
        return
    if user.uid == 0:
        return
    privileges.become(user.uid, user.gid)
