# SPDX-License-Identifier: Apache-2.0
"""onebackup plan"""

from __future__ import annotations

import argparse

from onebackup_driver import errors, explaining, plain, schedule, timer
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
    waits_for = schedule.slots(made.decisions, running, schedule.limits(context.configuration, made.decisions))
    if as_json:
        rows = [explaining.as_data(item, waits_for.get(item.machine.vm_id, "")) for item in made.decisions]
        print(plain.document(rows))
        return errors.EXIT_DONE
    lines = explaining.lines(made.decisions, waits_for)
    print("\n".join(map(plain.line, lines)) or "no VM has a BACKUP section")
    without = made.total - len(made.decisions)
    if without and made.decisions:
        print(f"{without} other VM(s) without a BACKUP section")
    return errors.EXIT_DONE
