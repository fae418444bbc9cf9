# SPDX-License-Identifier: Apache-2.0
"""onebackup plan"""

from __future__ import annotations

import argparse
import json

from onebackup_driver import errors, explaining, schedule, timer
from onebackup_driver.cli import options
from onebackup_driver.context import Context


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("plan", help="what `onebackup run` would do now, with the reason for each VM")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    return show(options.context(verbose=False), arguments.json)


def show(context: Context, as_json: bool = False) -> int:
    """Print the plan."""
    made = timer.plan(context)
    known = {decision.machine.vm_id: decision for decision in made.decisions}
    running = timer.elsewhere(context, known, set())
    waits_for = schedule.slots(made.decisions, running, context.configuration.limits)
    if as_json:
        rows = [explaining.as_data(item, waits_for.get(item.machine.vm_id, "")) for item in made.decisions]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return errors.EXIT_DONE
    print("\n".join(explaining.lines(made.decisions, waits_for)) or "no VM has a BACKUP section")
    without = made.total - len(made.decisions)
    if without and made.decisions:
        print(f"{without} other VM(s) without a BACKUP section")
    return errors.EXIT_DONE
