# SPDX-License-Identifier: Apache-2.0
"""onebackup list"""

from __future__ import annotations

import argparse
import sys

from onebackup_driver import errors, listing, plain, units
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.cli import options

#: A program that reads the table gets one line for each restore point.
_WIDTH_IN_A_PIPE = 250


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("list", help="the restore points of a VM, or of all VMs")
    parser.add_argument("vm", metavar="vmid", type=options.vm_id, nargs="?")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    points = listing.restore_points(options.context(verbose=False), arguments.vm)
    if arguments.json:
        print(plain.document([listing.as_data(point) for point in points]))
    elif points:
        _print_table(points)
    else:
        print("no restore points" + ("" if arguments.vm is None else f" of VM {arguments.vm}"))
    return errors.EXIT_DONE


def _print_table(points: list[RestorePoint]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in ("ID", "VM", "NAME", "TIME", "DISKS", "SIZE", "MODE", "MARKETPLACE", "STATE"):
        right = name in ("ID", "VM", "DISKS", "SIZE")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "STATE", overflow="fold")
    for point in points:
        table.add_row(*map(plain.line, _row(point)))
    width = None if sys.stdout.isatty() else _WIDTH_IN_A_PIPE
    Console(markup=False, highlight=False, width=width).print(table)


def _row(point: RestorePoint) -> list[str]:
    tags = point.vm_app.tags
    state = "; ".join(point.problems) or ("good, kept" if point.kept else "good")
    if tags.get("NOT_SAVED"):
        state += f", without disk {tags['NOT_SAVED']}"
    if tags.get("CONSISTENCY") == "PER_DISK":
        state += ", its disks are of different moments"
    return [
        str(point.backup_id),
        str(point.vm_id),
        tags.get("VM_NAME", ""),
        units.local_time(point.time),
        str(len(point.disks)),
        units.size_in_words(point.size_mb),
        tags.get("MODE", ""),
        str(point.vm_app.marketplace_id),
        state,
    ]
