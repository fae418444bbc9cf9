# SPDX-License-Identifier: Apache-2.0
"""onebackup status"""

from __future__ import annotations

import argparse

from onebackup_driver import clock, errors, explaining, overview, plain, queue, units
from onebackup_driver.cli import options, watching
from onebackup_driver.overview import Overview


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("status", help="running backups, waiting requests, last failures, next due VMs")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    found = overview.look(options.context(verbose=False))
    if arguments.json:
        print(plain.document(overview.as_data(found)))
    else:
        print("\n".join(_lines(found)))
    return errors.EXIT_REFUSED if found.problem else errors.EXIT_DONE


def _lines(found: Overview) -> list[str]:
    running = [
        f"VM {item.vm_id} ({item.vm_name}): {item.step}; {watching.amount(item)},"
        f" for {watching.duration(clock.now() - item.began)}, pid {item.pid}"
        for item in found.running
    ]
    requests = [_request(item, "waits") for item in found.waiting]
    requests += [_request(item, "is being carried out") for item in found.claimed]
    failed = [
        f"VM {vm_id}: {row.times} time(s), last {units.local_time(row.last)}: {row.reason}"
        for vm_id, row in sorted(found.failed.items())
    ]
    lines = _section("Running", running) + _section("Requests", requests) + _section("Failed", failed)
    if found.problem:
        return [*lines, plain.line(f"The plan is not known: {found.problem}")]
    lines += _section("Due", [explaining.line(item) for item in found.due])
    return lines + _section("Next", [explaining.line(item) for item in found.upcoming])


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"{title}:", *(f"  {plain.line(line)}" for line in lines)] if lines else [f"{title}: none"]


def _request(request: queue.Request, state: str) -> str:
    when = units.local_time(request.requested_at)
    if request.not_before > clock.now():
        state += f" until {units.local_time(request.not_before)}"
    return f"VM {request.vm_id}: '{request.reason}' by {request.requested_by or 'somebody'} at {when} {state}"
