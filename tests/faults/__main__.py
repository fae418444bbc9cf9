# SPDX-License-Identifier: Apache-2.0
"""python -m tests.faults [--version V] [--scenario NAME] [--step GLOB] [--fault GLOB] [--seed N --sample N] [--jobs N]

Runs the fault matrix and prints one table. Exit code 1 when a case failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Optional

from tests.faults import matrix, table, workers
from tests.faults.cases import Case, Outcome
from tests.faults.scenarios import SCENARIOS

VERSIONS = ("6.4", "7.4")


def main(argv: Optional[list[str]] = None) -> int:
    arguments = _parser().parse_args(argv)
    began = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, spawn, workers.keep_off_foreign_settings) as pool:
        chosen = _chosen(arguments, pool)
        print(f"{len(chosen)} cases", flush=True)
        outcomes: list[Outcome] = []
        for outcome in pool.map(workers.run, chosen):
            outcomes.append(outcome)
            _say(outcome, arguments.verbose)
    print(table.render(outcomes, time.monotonic() - began))
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the fault matrix.")
    parser.add_argument("--version", choices=VERSIONS, help="one front-end version instead of both")
    parser.add_argument("--scenario", default="*", metavar="GLOB", help=f"of: {', '.join(SCENARIOS)}")
    parser.add_argument("--step", default="*", metavar="GLOB", help="e.g. 'one.vm.action*'")
    parser.add_argument("--fault", default="*", metavar="GLOB", help="e.g. kill-after")
    parser.add_argument("--sample", type=int, metavar="N", help="only N cases, spread over steps and faults")
    parser.add_argument("--seed", type=int, default=1, help="chooses the sample")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--regressions", action="store_true", help="only the cases of regressions.txt")
    parser.add_argument("--verbose", action="store_true", help="also what each run said to the admin")
    return parser


def _chosen(arguments: argparse.Namespace, pool: ProcessPoolExecutor) -> list[Case]:
    if arguments.regressions:
        return matrix.matching(matrix.regressions(), arguments.step, arguments.fault)
    versions = [arguments.version] if arguments.version else list(VERSIONS)
    parts = pool.map(workers.steps_times_faults, versions, [arguments.scenario] * len(versions))
    found = matrix.matching([case for part in parts for case in part], arguments.step, arguments.fault)
    return found if arguments.sample is None else matrix.sample(found, arguments.sample, arguments.seed)


def _say(outcome: Outcome, verbose: bool) -> None:
    if outcome.wrong:
        print(f"FAILED {outcome.case}", *outcome.wrong, f"said: {outcome.said.strip()}", sep="\n    ", flush=True)
    elif verbose:
        print(f"{'skipped' if outcome.skipped else 'passed'} {outcome.case} ({outcome.seconds:.1f} s):"
              f" {outcome.skipped} {outcome.said.strip()}", flush=True)  # fmt: skip


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenProcessPool as error:
        sys.exit(f"a worker died: {error}")
