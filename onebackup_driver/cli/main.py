# SPDX-License-Identifier: Apache-2.0
"""The entry point of `onebackup`: the only place that turns errors into exit codes (docs/operations.md)."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Optional

import onebackup_driver
from onebackup_driver import errors, plain, signals

_EXIT_CODES = """exit codes:
  0 done, or not due                   1 failed, undone, nothing lost
  2 wrong usage or configuration       3 refused, nothing touched
  4 failed, needs attention: the command to run is printed
  70 a bug in onebackup                128+n ended by signal n, undone"""

#: Each is a module of this folder. A process loads the one that it runs: the others would cost it 35 to 70 ms.
_COMMANDS = ("backup", "restore", "list", "run", "plan", "status", "recover", "doctor", "repository", "gateway", "work")


def main(argv: Optional[list[str]] = None) -> None:
    """Run a command and leave with its exit code."""
    plain.make_forgiving(sys.stdout, sys.stderr)
    sys.exit(_guarded(sys.argv[1:] if argv is None else argv))


def _guarded(argv: list[str]) -> int:
    signals.install()
    try:
        arguments = parser(argv[0] if argv else "").parse_args(argv)
        code: int = arguments.run(arguments)
        return code
    except errors.Error as error:
        print(plain.line(f"ERROR: {error}"), file=sys.stderr)
        return error.exit_code
    except errors.Terminated as error:
        print(plain.line(f"ERROR: {error}; {error.undone}"), file=sys.stderr)
        return 128 + error.signal_number
    except BrokenPipeError:
        return 128 + 13
    except OSError as error:  # a full disk, a directory of another user: no bug of ours
        print(plain.line(f"ERROR: {errors.in_words(error)}"), file=sys.stderr)
        return errors.EXIT_FAILED


def parser(command: str = "") -> argparse.ArgumentParser:
    """The whole command line (the shell completion is made from it), or that of `command` alone."""
    parser = argparse.ArgumentParser(
        prog="onebackup",
        description="VM backup for OpenNebula.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"onebackup {onebackup_driver.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in [command] if command in _COMMANDS else _COMMANDS:
        importlib.import_module(f"onebackup_driver.cli.{name}").register(commands)
    return parser


if __name__ == "__main__":
    main()
