# SPDX-License-Identifier: Apache-2.0
"""Cases spread over worker processes, until all have been run or the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from tests.faults import workers
from tests.faults.cases import Case, Outcome

#: Called before a case begins, with what waits for all that are under way; may wait.
Gate = Callable[[Callable[[], None]], None]


def run_all(pool: ProcessPoolExecutor, cases: Iterable[Case], jobs: int, report: Callable[[Outcome], None],
            minutes: float, gate: Gate = lambda drain: None) -> None:
    """Run the cases, `jobs` at a time; none begins after `minutes`. Raises BrokenProcessPool."""
    deadline = time.monotonic() + 60 * minutes
    under_way: set[Future[Outcome]] = set()

    def collect(enough: int) -> None:
        while len(under_way) > enough:
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            under_way.difference_update(done)
            for future in done:
                report(future.result())

    for case in cases:
        gate(lambda: collect(0))
        if time.monotonic() > deadline:
            break
        under_way.add(pool.submit(workers.run, case))
        collect(jobs - 1)
    collect(0)
