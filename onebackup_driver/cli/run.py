# SPDX-License-Identifier: Apache-2.0
"""onebackup run"""

from __future__ import annotations

import argparse

from onebackup_driver import children, errors, explaining, leader, plain, timer
from onebackup_driver.cli import options, plan, watching
from onebackup_driver.timer import Report


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="back up every VM that is due; for cron or a systemd timer")
    options.add_log_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and touch nothing (as: onebackup plan)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    context = options.context(arguments.verbose, arguments.logger)
    if arguments.dry_run:
        idle = leader.obstacle(context)
        if idle:
            print(idle)
        return plan.show(context)
    report = Report()
    try:
        with watching.watcher(arguments.verbose) as watch:
            timer.run(context, watch, report, arguments.logger)
    except BaseException:
        if report.ended or report.recovered:
            _print(report, arguments.verbose)
        raise
    _print(report, arguments.verbose)
    return exit_code(report)


def _print(report: Report, verbose: bool) -> None:
    lines = in_words(report, verbose)
    if lines:
        print("\n".join(map(plain.line, lines)), flush=True)


def in_words(report: Report, verbose: bool) -> list[str]:
    """What cron mails: nothing when all is well, unless `verbose`."""
    if report.idle:
        return [report.idle]
    bad = report.of(children.FAILED, children.ATTENTION)
    if not (verbose or bad or report.recovered):
        return []
    counts = [(len(report.of(children.DONE)), "done"), (_skipped(report), "skipped"), (len(bad), "failed")]
    lines = ["onebackup run: " + ", ".join(f"{count} {what}" for count, what in counts)]
    lines += [f"recovered: {item.message}" for item in report.recovered]
    lines += [f"{item.result}: {_name(item)}: {item.message}" for item in bad]
    lines += [f"skipped: {_name(item)}: {item.message}" for item in report.of(children.SKIPPED)]
    lines += [f"skipped: {explaining.line(item, _why_waiting(item.runs))}" for item in report.not_run]
    if verbose:
        lines += [f"done: {_name(item)}: {item.message}" for item in report.of(children.DONE)]
    return lines


def exit_code(report: Report) -> int:
    """0 all well or nothing to do, 1 a VM could not be backed up, 4 somebody has to look at something."""
    if report.of(children.ATTENTION) or not all(item.good for item in report.recovered):
        return errors.EXIT_ATTENTION
    return errors.EXIT_FAILED if report.of(children.FAILED) else errors.EXIT_DONE


def _skipped(report: Report) -> int:
    return len(report.of(children.SKIPPED)) + len(report.not_run)


def _why_waiting(runs: bool) -> str:
    return "the time of this run was over, or all slots were taken; the next run takes it up" if runs else ""


def _name(item: children.Ended) -> str:
    return f"VM {item.vm_id}" + (f" ({item.vm_name})" if item.vm_name else "")
