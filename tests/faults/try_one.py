# SPDX-License-Identifier: Apache-2.0
"""python -m tests.faults.try_one "7.4 backup one.vm.disksaveas.2 kill-after" …: cases with all that is said."""

from __future__ import annotations

import sys

from tests.faults import cases
from tests.faults.cases import Case
from tests.faults.rig import Rig


def main() -> None:
    for text in sys.argv[1:]:
        case = Case.parse(text)
        with Rig(case.version) as rig:
            outcome = cases.run(rig, case)
        print(f"{case}: {outcome.seconds:.1f} s {outcome.skipped}\n  said: {outcome.said}")
        for line in outcome.wrong:
            print(f"  WRONG: {line}")


if __name__ == "__main__":
    main()
