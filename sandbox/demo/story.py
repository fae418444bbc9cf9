# SPDX-License-Identifier: Apache-2.0
"""The story: a VM is backed up, and again the next day, destroyed and restored, and every disk is compared."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from sandbox.demo import comparison, cost, depot, keeper, machine
from sandbox.demo.api import Api, Refused
from sandbox.demo.comparison import NotProven
from sandbox.demo.keeper import Place


def tell(state: Path, version: str, keep: bool) -> int:
    """Tell the whole story; return the exit code, 0 only when all is proven."""
    try:
        place = keeper.start(state, version)
        try:
            play(place, state, version)
        finally:
            if keep:
                explain_how_to_play_on(place)
            else:
                keeper.stop(state)
    except (NotProven, Refused, keeper.KeeperFailed) as error:
        print(f"NOT PROVED: {error}", flush=True)
        return 1
    return 0


def play(place: Place, state: Path, version: str) -> None:
    front_end, repository = Api(place.endpoint, Path(place.auth_file)), Path(place.repository)
    heading(f"A front-end (sandbox, OpenNebula {version}) with a running VM")
    market = machine.create_marketplace(front_end, place)
    original = machine.create_machine(front_end, market)
    machine.describe(front_end, place, original)
    onebackup(place, "repository", "create", f"dir:{repository}")

    first = cost.of(repository, lambda: onebackup(place, "backup", str(original.vm), "-v"))
    stored = comparison.read_restore_point(front_end, original.vm, state)
    counter = comparison.require_clean(stored, original.originals)
    machine.prove_going_on(front_end, original.vm, counter)

    heading("The next day")
    saved = machine.live_a_day(front_end, original.vm)
    second = cost.of(repository, lambda: onebackup(place, "backup", str(original.vm), "--force", "--keep-backup"))
    stored = comparison.read_restore_point(front_end, original.vm, state)
    heading("What it cost")
    cost.show([("first day", first), ("second day", second)], sum(disk.disk.path.stat().st_size for disk in stored))

    heading("The VM and its images are destroyed")
    machine.destroy(front_end, original)
    restored = restored_vm(onebackup(place, "restore", str(original.vm), "-d", "default", "--no-start"))
    heading("The proof")
    counter = comparison.compare(front_end, original, saved, restored)
    machine.start_again(front_end, restored, counter)
    print(
        f"\nPROVED: each of the {len(saved)} disks of VM {original.vm} came back byte for byte as VM {restored}, "
        "shut down cleanly, all from the same moment, and its guest has gone on from there; the second day took "
        f"{second.stored_bytes / first.stored_bytes:.0%} of the space of the first.",
        flush=True,
    )


def onebackup(place: Place, *arguments: str) -> str:
    """Run onebackup as a user would; its output is shown as it comes, and returned."""
    heading(f"$ onebackup {' '.join(arguments)}")
    process = subprocess.Popen(
        [str(depot.command()), *arguments],
        env={**os.environ, **place.environment},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
        process.wait()
    finally:  # interrupted: onebackup puts back what it has begun while its front-end is still there
        if process.poll() is None:
            process.terminate()
            process.wait()
    if process.returncode != 0:
        raise NotProven(f"onebackup {arguments[0]} ended with exit code {process.returncode}")
    return "".join(lines)


def restored_vm(output: str) -> int:
    found = re.search(r"^ID: (\d+)\s*\Z", output, re.MULTILINE)
    if not found:
        raise NotProven("the last line of the restore is not 'ID: <new VM>'")
    return int(found[1])


def heading(words: str) -> None:
    print(f"\n== {words}", flush=True)


def explain_how_to_play_on(place: Place) -> None:
    print("\nThe sandbox runs on. To play with it:")
    for name, value in place.environment.items():
        print(f"  export {name}={value}")
    print(f"  {depot.command()} list 0")
    print(f"  {depot.command()} repository status dir:{place.repository}")
    print(f"  {depot.command()} restore 0 -d default")
    print("and to end it: ./install.sh --uninstall, or only the sandbox:")
    print(f"  {sys.executable} -m sandbox.demo --stop", flush=True)
