# SPDX-License-Identifier: Apache-2.0
"""onebackup recover"""

from __future__ import annotations

import argparse

from onebackup_driver import errors, plain, recover, strays
from onebackup_driver.cli import options


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("recover", help="finish or undo what a run that died has left")
    options.add_log_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and touch nothing")
    parser.add_argument(
        "--all-nodes",
        action="store_true",
        help="also, at once, what another front-end (HA) left; otherwise only when it is older than stray_grace_hours."
        " No backup may be running on the other front-ends",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    context = options.context(arguments.verbose, arguments.logger)
    found = recover.everything(context, arguments.dry_run)
    found += strays.everything(context, arguments.all_nodes, arguments.dry_run)
    for item in found:
        print(plain.line(item.message))
    if not found:
        print("nothing to recover")
    return errors.EXIT_DONE if all(item.good for item in found) else errors.EXIT_ATTENTION
