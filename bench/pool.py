# SPDX-License-Identifier: Apache-2.0
"""What reading and planning a large VM pool costs, beside pyone's own parse of the same pages.

    .venv/bin/python -m bench.pool [--vms 10000] [--rounds 3]

Whole processes (start, imports, reading, planning), one after the other in turn, against a server on loopback that
plays recorded VMs with changed ids. CPU is user + system time of the process, peak its maximum resident set.
Ends with 1 when a requirement is missed: CPU at most 0.35 x pyone's, peak under 150 MiB.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "tests/data/recordings/7.4/xmlrpc/029-one.vmpool.infoextended.response.xml"
LIMIT_RATIO, LIMIT_MIB = 0.35, 150

PLANNER = """
import sys
from onebackup_driver import frontend, planner, site_rules
front_end = frontend.FrontEnd(sys.argv[1], "oneadmin:password")
plan = planner.of_pool(front_end, site_rules.Configuration(), {}, int(sys.argv[2]))
print(len(plan.decisions), sum(decision.runs for decision in plan.decisions))
"""
PYONE = """
import sys, pyone
server, offset, page = pyone.OneServer(sys.argv[1], session="oneadmin:password"), 0, 500
while True:
    machines = server.vmpool.infoextended(-2, offset, -page, -1, "").VM
    offset += len(machines)
    if len(machines) < page:
        break
print(offset)
"""
PYONE_AT_ONCE = """
import sys, pyone
pool = pyone.OneServer(sys.argv[1], session="oneadmin:password").vmpool.infoextended(-2, 0, -10**9, -1, "")
print(len(pool.VM))
"""
PROGRAMS = {"onebackup plan": PLANNER, "pyone, same pages": PYONE, "pyone, all at once": PYONE_AT_ONCE}


@dataclass(frozen=True)
class Cost:
    cpu_s: float
    wall_s: float
    peak_mib: float
    said: str


@contextmanager
def server(count: int, now: int) -> Iterator[str]:
    argv = [sys.executable, str(ROOT / "bench/pool_server.py"), str(RECORDING), str(count), str(now)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            endpoint, least, mean, most = process.stdout.readline().split()
            print(f"{count} VMs of {least} to {most} bytes (mean {mean})\n")
            yield endpoint
        finally:
            process.kill()


def measure(program: str, endpoint: str, now: int) -> Cost:
    """Run one whole process; what it cost."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", program, endpoint, str(now)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    said = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {program}")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024, said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vms", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    now = int(time.time())
    costs: dict[str, list[Cost]] = {name: [] for name in PROGRAMS}
    with server(arguments.vms, now) as endpoint:
        for _ in range(arguments.rounds):
            for name, program in PROGRAMS.items():
                costs[name].append(measure(program, endpoint, now))
    sys.exit(report(costs))


def report(costs: dict[str, list[Cost]]) -> int:
    base = statistics.median(cost.cpu_s for cost in costs["pyone, same pages"])
    print(f"{'':20} {'CPU s':>7} {'wall s':>7} {'peak MiB':>9} {'CPU ratio':>10}   rounds (CPU s)")
    for name, all_costs in costs.items():
        cpu_s = statistics.median(cost.cpu_s for cost in all_costs)
        wall_s = statistics.median(cost.wall_s for cost in all_costs)
        peak = max(cost.peak_mib for cost in all_costs)
        rounds = " ".join(f"{cost.cpu_s:.2f}" for cost in all_costs)
        print(f"{name:20} {cpu_s:7.2f} {wall_s:7.2f} {peak:9.0f} {cpu_s / base:10.2f}   {rounds}")
    ours = costs["onebackup plan"]
    ratio = statistics.median(cost.cpu_s for cost in ours) / base
    peak = max(cost.peak_mib for cost in ours)
    good = ratio <= LIMIT_RATIO and peak < LIMIT_MIB
    limits = f"ratio {ratio:.2f} (at most {LIMIT_RATIO}), peak {peak:.0f} MiB (under {LIMIT_MIB})"
    print(f"\n{'kept' if good else 'MISSED'}: {limits}")
    return 0 if good else 1


if __name__ == "__main__":
    main()
