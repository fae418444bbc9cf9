# SPDX-License-Identifier: Apache-2.0
"""python -m tests.faults [--version V] [--scenario NAME] [--step GLOB] [--fault GLOB] [--seed N --sample N] [--jobs N]
    [--minutes N] [--ledger FILE]

Runs the fault matrix and prints one table. Exit code 1 when a case failed.
"""

from __future__ import annotations

import argparse
import fnmatch
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from sandbox import servers
from tests.faults import matrix, running, table, workers
from tests.faults.cases import Case, Outcome
from tests.faults.ledger import Ledger
from tests.faults.rig import S3_VARIABLE
from tests.faults.scenarios import SCENARIOS

VERSIONS = ("6.4", "7.4")


def main(argv: Optional[list[str]] = None, gate: running.Gate = lambda drain: None) -> int:
    arguments = _parser().parse_args(argv)
    began, book = time.monotonic(), Ledger(arguments.ledger)
    chosen: list[Case] = []
    spawn = multiprocessing.get_context("spawn")
    with _s3_store(arguments), ProcessPoolExecutor(arguments.jobs, spawn, workers.begin) as pool:
        try:
            chosen = _chosen(arguments, pool)
            left = book.left(chosen)
            print(f"{len(chosen)} cases, {len(left)} to run", flush=True)

            def report(outcome: Outcome) -> None:
                book.add(outcome)
                _say(outcome, arguments.verbose)

            running.run_all(pool, left, arguments.jobs, report, arguments.minutes, gate)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
    known = set(chosen)
    outcomes = [outcome for outcome in book.outcomes() if outcome.case in known]
    print(table.render(outcomes, len(chosen), time.monotonic() - began))
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


@contextmanager
def _s3_store(arguments: argparse.Namespace) -> Iterator[None]:
    """One S3 server for all workers, when a scenario needs it."""
    if arguments.regressions or not any(SCENARIOS[name].market == "s3" for name in _scenarios(arguments)):
        yield
        return
    with servers.s3_server() as store:
        os.environ[S3_VARIABLE] = f"{store.endpoint} {store.access_key} {store.secret_key}"
        yield


def _scenarios(arguments: argparse.Namespace) -> list[str]:
    return fnmatch.filter(SCENARIOS, arguments.scenario)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the fault matrix.")
    parser.add_argument("--version", choices=VERSIONS, help="one front-end version instead of both")
    parser.add_argument("--scenario", default="*", metavar="GLOB", help=f"of: {', '.join(SCENARIOS)}")
    parser.add_argument("--step", default="*", metavar="GLOB", help="e.g. 'one.vm.action*'")
    parser.add_argument("--fault", default="*", metavar="GLOB", help="e.g. kill-after")
    parser.add_argument("--sample", type=int, metavar="N", help="only N cases, spread over steps and faults")
    parser.add_argument("--seed", type=int, default=1, help="chooses the sample")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no case begins later than this")
    parser.add_argument("--ledger", type=Path, metavar="FILE",
                        help="keep the outcomes there, and run only what has not passed according to it")  # fmt: skip
    parser.add_argument("--regressions", action="store_true", help="only the cases of regressions.txt")
    parser.add_argument("--verbose", action="store_true", help="also what each run said to the admin")
    return parser


def _chosen(arguments: argparse.Namespace, pool: ProcessPoolExecutor) -> list[Case]:
    if arguments.regressions:
        return matrix.matching(matrix.regressions(), arguments.step, arguments.fault)
    versions = [arguments.version] if arguments.version else list(VERSIONS)
    pairs = [(version, name) for version in versions for name in _scenarios(arguments)]
    parts = pool.map(workers.steps_times_faults, *zip(*pairs))
    found = matrix.matching([case for part in parts for case in part], arguments.step, arguments.fault)
    return matrix.sample(found, arguments.sample or len(found), arguments.seed)


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
