# SPDX-License-Identifier: Apache-2.0
"""python -m tests.repository.faults [--group G] [--where GLOB] [--operation GLOB] [--fault GLOB] [--sample N --seed N]

Runs the cases and prints a table of cases and how many passed, by step and by fault. Exit code 1 when one failed.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import Optional

from . import cases, groups, rig


def main(argv: Optional[list[str]] = None) -> int:
    arguments = _parser().parse_args(argv)
    logging.disable(logging.WARNING)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="onebackup-faults-") as name, rig.running(Path(name)) as running:
        chosen = _chosen(arguments, running)
        print(f"{len(chosen)} cases", flush=True)
        if arguments.count:
            for (group, where), count in sorted(Counter((case.group, case.where) for case in chosen).items()):
                print(f"{group:<12} {where:<22} {count:>6}")
            return 0
        outcomes = []
        for case in chosen:
            outcomes.append(groups.run(case, running))
            _say(outcomes[-1], arguments.verbose)
    print(cases.render(outcomes, time.monotonic() - began))
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.repository.faults", description="Faults of repositories.")
    parser.add_argument("--group", default="*", metavar="GLOB", help=f"of: {', '.join(groups.GROUPS)}")
    parser.add_argument("--where", default="*", metavar="GLOB", help='e.g. "s3*"')
    parser.add_argument("--operation", default="*", metavar="GLOB", help="e.g. gc")
    parser.add_argument("--fault", default="*", metavar="GLOB", help='e.g. "kill after"')
    parser.add_argument("--sample", type=int, metavar="N", help="only N cases, spread")
    parser.add_argument("--seed", type=int, default=1, help="chooses the sample")
    parser.add_argument("--part", default="0/1", metavar="K/N", help="every N-th case, from the K-th on")
    parser.add_argument("--count", action="store_true", help="only say how many there are")
    parser.add_argument("--case", action="append", help="only this one, as it was printed")
    parser.add_argument("--verbose", action="store_true")
    return parser


def _chosen(arguments: argparse.Namespace, running: rig.Rig) -> list[cases.Case]:
    if arguments.case:
        return [cases.parse(text) for text in arguments.case]

    def wanted(where: str, operation: str) -> bool:
        return fnmatch(where, arguments.where) and fnmatch(operation, arguments.operation)

    asked = [groups.GROUPS[name] for name in groups.GROUPS if fnmatch(name, arguments.group)]
    found = [case for group in asked for case in group.cases(running, wanted) if fnmatch(case.fault, arguments.fault)]
    first, step = map(int, arguments.part.split("/"))
    return found[first::step] if arguments.sample is None else cases.sample(found, arguments.sample, arguments.seed)


def _say(outcome: cases.Outcome, verbose: bool) -> None:
    if outcome.wrong:
        print(f"FAILED {outcome.case} ({outcome.step})", *outcome.wrong, sep="\n    ", flush=True)
    elif verbose:
        print(f"{'skipped' if outcome.skipped else 'passed'} {outcome.case} ({outcome.step}) {outcome.skipped}"
              f" {outcome.seconds:.1f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
