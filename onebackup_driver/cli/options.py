# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the context they make."""

from __future__ import annotations

import argparse
from typing import Optional

from onebackup_driver import configuration, errors, frontend, logs, paths, privileges
from onebackup_driver.context import Context


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """-v and --logger, as the stock commands have them."""
    parser.add_argument("-v", "--verbose", action="store_true", help="print the log on standard output")
    parser.add_argument("--logger", metavar="FILE", help="append the log to FILE")


def vm_id(text: str) -> int:
    """argparse type of a VM id."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a VM id (a number, see: onevm list)")
    return int(text)


def object_id(text: str) -> int:
    """argparse type of a marketplace or app id."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not an id (a number)")
    return int(text)


def context(verbose: bool, log_file: Optional[str] = None) -> Context:
    """Configuration, log and connection for a command. Raises UsageError or Refused."""
    where = paths.find()
    site = configuration.load(where.configuration)
    if site.state_directory:
        where = paths.with_state(where, site.state_directory)
    try:
        log = logs.set_up(verbose, log_file)
    except OSError as error:
        raise errors.UsageError(f"cannot write the log file {log_file}: {error.strerror}") from error
    front_end = frontend.connect(where, site.timeouts.call_s, site.timeouts.patience_s)
    privileges.drop_to_owner_of(where.state)
    return Context(front_end, site, where, log)
