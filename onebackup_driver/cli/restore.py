# SPDX-License-Identifier: Apache-2.0
"""onebackup restore"""

from __future__ import annotations

import argparse

from onebackup_driver import errors, restore, source
from onebackup_driver.cli import options
from onebackup_driver.context import Context


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("restore", help="make a VM from a restore point and start it")
    parser.add_argument("vm", metavar="vmid", type=options.vm_id, nargs="?", help="the VM that was backed up")
    parser.add_argument("-d", "--datastore", metavar="ID|NAME", help="image datastore for the disks")
    parser.add_argument("-v", "--verbose", action="store_true", help="accepted; the log is printed anyway")
    parser.add_argument("--logger", metavar="FILE", help="append the log to FILE instead of printing it")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--backup", default="", metavar="ID|TIME", help="not the newest one: see onebackup list")
    which.add_argument(
        "--app", type=options.object_id, metavar="ID", help="the VM template app, also of a stock backup"
    )
    parser.add_argument("--name", default="", help="name of the new VM")
    parser.add_argument(
        "--no-start", action="store_true", help="leave the new VM on HOLD (start it with: onevm release)"
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it runs")
    parser.add_argument("--no-ip", action="store_true", help="let the networks give new IP and MAC addresses")
    parser.add_argument("--no-nic", action="store_true", help="without network interfaces")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if not arguments.datastore:
        raise errors.UsageError("no datastore given: use -d ID|NAME, see: onedatastore list")
    if (arguments.vm is None) == (arguments.app is None):
        raise errors.UsageError("name the VM, or its VM template app with --app ID")
    context = options.context(arguments.logger is None, arguments.logger)
    request = restore.Request(
        datastore=arguments.datastore,
        name=arguments.name,
        start=not arguments.no_start,
        wait=not arguments.no_wait,
        keep_ip=not arguments.no_ip,
        keep_nic=not arguments.no_nic,
    )
    lock_id = arguments.vm if arguments.vm is not None else arguments.app
    print(f"ID: {restore.run(context, lambda: _choose(context, arguments), lock_id, request)}")
    return errors.EXIT_DONE


def _choose(context: Context, arguments: argparse.Namespace) -> source.Source:
    if arguments.app is not None:
        return source.of_app(context, arguments.app)
    return source.of_vm(context, arguments.vm, arguments.backup)
