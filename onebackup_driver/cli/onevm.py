# SPDX-License-Identifier: Apache-2.0
"""`onevm` before the stock `onevm` in PATH: `backup` of VMs with our BACKUP section (or with --market) and
`restore <vmid> -d <datastore>`, with the syntax and output of the stock 6.4 command (src/cli/onevm), on every version.

Everything else becomes the stock command, untouched; so does whatever there is any doubt about. Nothing heavy is
imported before it is known to be ours: `onevm list` must not get slower.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn, Optional

#: How the stock commands end on any error: exit(-1).
EXIT_ERROR = 255
EXIT_NOT_FOUND = 127
_OUR_MARK = b"onebackup_driver"


def main(argv: list[str]) -> NoReturn:
    """Do our part of the command line, or become the stock command. Never returns."""
    command = argv[1] if len(argv) > 1 else ""
    if command in ("backup", "restore"):
        from onebackup_driver import plain
        from onebackup_driver.cli import onevm_ours

        plain.make_forgiving(sys.stdout, sys.stderr)
        code = onevm_ours.attempt(command, argv[2:], lambda arguments: stock_call(argv[0], arguments))
        if code is not None:
            sys.exit(code)
    stock = find_stock(argv[0])
    if stock is None:
        sys.exit(_not_found())
    from onebackup_driver import commands

    commands.become(stock, [stock, *argv[1:]])
    raise AssertionError("execv does not return")


def stock_call(program: str, arguments: list[str]) -> int:
    """Run the stock command beside us, on our terminal; its exit code."""
    from onebackup_driver import commands

    stock = find_stock(program)
    return _not_found() if stock is None else commands.call([stock, *arguments])


def find_stock(program: str) -> Optional[str]:
    """The first `onevm` in PATH (then at its usual places) that is neither `program` nor another of these wrappers."""
    location = os.environ.get("ONE_LOCATION")
    usual = [os.path.join(location, "bin")] if location else []
    for folder in [*os.environ.get("PATH", "").split(os.pathsep), *usual, "/usr/bin"]:
        path = os.path.join(folder or ".", "onevm")
        if os.path.isfile(path) and os.access(path, os.X_OK) and not _is_ours(path, program):
            return path
    return None


def _is_ours(path: str, program: str) -> bool:
    try:
        if os.path.exists(program) and os.path.samefile(path, program):
            return True
        with open(path, "rb") as stream:
            return _OUR_MARK in stream.read(1000)
    except OSError:
        return False  # not readable: a binary that may only be executed is not our script


def _not_found() -> int:
    print("ERROR: onebackup's onevm finds no other onevm in PATH", file=sys.stderr)
    return EXIT_NOT_FOUND
