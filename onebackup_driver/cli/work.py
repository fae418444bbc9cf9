# SPDX-License-Identifier: Apache-2.0
"""onebackup work: the worker that hooks start; not for people, who have `onebackup run`."""

from __future__ import annotations

import argparse

from onebackup_driver import errors, serving
from onebackup_driver.cli import options


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command, unseen in the help."""
    commands.add_parser("work").set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    served = serving.work(options.context(verbose=True))
    return errors.EXIT_FAILED if any(item.result == serving.FAILED for item in served) else errors.EXIT_DONE
