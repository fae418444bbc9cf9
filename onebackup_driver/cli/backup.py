# SPDX-License-Identifier: Apache-2.0
"""onebackup backup"""

from __future__ import annotations

import argparse

from onebackup_driver import backup, children, errors, plain, planning
from onebackup_driver.cli import options


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("backup", help="back one VM up into its marketplace, if it is due")
    parser.add_argument("vm", metavar="vmid", type=options.vm_id)
    options.add_log_options(parser)
    parser.add_argument("--force", action="store_true", help="also when it is not due")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and touch nothing")
    parser.add_argument("--keep-backup", action="store_true", help="keep the restore point that this one replaces")
    parser.add_argument(
        "--oneshot", action="store_true", help="needs --market: record nothing on the VM, delete nothing"
    )
    parser.add_argument("--market", metavar="ID", type=options.object_id, help="marketplace to use instead of BACKUP's")
    parser.add_argument("--mode", default="", help="POWEROFF, SUSPEND, LIVE, or several in order: LIVE,POWEROFF")
    parser.add_argument("--json-outcome", action="store_true", help=argparse.SUPPRESS)  # for the timer
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    return _for_the_timer(arguments) if arguments.json_outcome else _for_people(arguments)


def _for_the_timer(arguments: argparse.Namespace) -> int:
    """The outcome as one line of JSON (children.py); also of what was refused or failed."""
    try:
        context = options.context(arguments.verbose, arguments.logger)
        outcome = backup.run(context, arguments.vm, planning.Request(force=arguments.force))
    except errors.Error as error:
        print(children.answer(children.result_of(error), str(error)))
        return error.exit_code
    result = children.DONE if outcome.point is not None else children.SKIPPED
    print(children.answer(result, backup.summary(outcome)))
    return errors.EXIT_DONE


def _for_people(arguments: argparse.Namespace) -> int:
    if arguments.oneshot and arguments.market is None:
        raise errors.UsageError("no market given: --oneshot needs --market ID")
    context = options.context(arguments.verbose, arguments.logger)
    request = planning.Request(
        force=arguments.force,
        keep_backup=arguments.keep_backup,
        oneshot=arguments.oneshot,
        marketplace_id=arguments.market,
        modes=arguments.mode,
    )
    if arguments.dry_run:
        plan = planning.make(context, arguments.vm, request)
        lines = planning.in_words(plan) if planning.goes_on(plan) else [backup.summary(backup.Outcome(plan, None))]
        print("\n".join(map(plain.line, lines)))
        return errors.EXIT_DONE
    if arguments.verbose:
        print(f"VM {arguments.vm}: Backup", flush=True)
    print(plain.line(backup.summary(backup.run(context, arguments.vm, request))))
    return errors.EXIT_DONE
