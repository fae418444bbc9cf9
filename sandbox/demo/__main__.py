# SPDX-License-Identifier: Apache-2.0
"""`python -m sandbox.demo`: exit code 0 only when every disk was proven to have come back."""
from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from sandbox.demo import keeper, story

STATE = Path(".demo").resolve()


def main() -> int:
    options = parse()
    if options.stop:
        stopped = keeper.stop(STATE)
        print("stopped the kept sandbox" if stopped else "no sandbox is running here")
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):  # as orderly an end as Ctrl-C: the servers must not stay
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        return story.tell(STATE, options.version, options.keep)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sandbox.demo", description="back up, destroy, restore, compare")
    parser.add_argument("--version", choices=("6.4", "7.4"), default="7.4", help="OpenNebula version to play")
    parser.add_argument("--keep", action="store_true", help="leave the sandbox running")
    parser.add_argument("--stop", action="store_true", help="stop a sandbox that was left running")
    return parser.parse_args()


sys.exit(main())
