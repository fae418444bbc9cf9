# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.concurrency --seed N --operations M`: the hammer, one seed or many; ends with 1 when one fails."""

from __future__ import annotations

import argparse
import sys
import time

from tests.concurrency import hammer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", choices=("6.4", "7.4"), action="append", help="default: both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="so many, from --seed on")
    parser.add_argument("--operations", type=int, default=60, help="per seed")
    parser.add_argument("--verbose", action="store_true", help="say every operation when it is done")
    wanted = parser.parse_args()
    failed, began = 0, time.monotonic()
    for seed in range(wanted.seed, wanted.seed + wanted.seeds):
        for version in wanted.version or ("6.4", "7.4"):
            outcome = hammer.run(version, seed, wanted.operations, _say if wanted.verbose else None)
            failed += bool(outcome.wrong)
            if outcome.wrong:
                print(outcome.report(), flush=True)
            what = "FAILED" if outcome.wrong else "good"
            taken_s = time.monotonic() - began
            _say(f"{version} seed {seed}: {what}, {outcome.operations} operations, {taken_s:.0f} s so far")
    return 1 if failed else 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
