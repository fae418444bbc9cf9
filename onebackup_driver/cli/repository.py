# SPDX-License-Identifier: Apache-2.0
"""onebackup repository"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable

_WHICH = """REPOSITORY is dir:/path, s3://bucket/prefix, the id of a marketplace with MARKET_MAD=onebackup, or the id of
a repository that the driver of this front-end has used."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command with its verbs."""
    parser = commands.add_parser(
        "repository", help="create, look at, check and clean the repositories of onebackup's own marketplaces"
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    create = _verb(verbs, "create", "make a new, empty repository", "repository_shown.create")
    create.add_argument("--encrypt", action="store_true", help="encrypt it; --key-file is made if it is not there")
    create.add_argument("--compression-level", type=_whole(1, 19), default=1, metavar="1-19")
    create.add_argument("--grace-hours", type=_whole(1), metavar="N", help="gc deletes what was unused so long (36)")
    create.add_argument("--longest-run-hours", type=_whole(1), metavar="N", help="longer backups are refused (24)")
    _verb(verbs, "list", "the restore points of disks in it", "repository_shown.list")
    show = _verb(verbs, "show", "one restore point", "repository_shown.show")
    show.add_argument("name", help="the name of the restore point, see: onebackup repository list")
    _verb(verbs, "status", "size, deduplication, compression, growth", "repository_shown.status")
    verify = _verb(verbs, "verify", "read everything and compare it with its hashes", "repository_work.verify")
    verify.add_argument("--sample", type=_percent, metavar="PERCENT", help="only so much of it, chosen at random")
    verify.add_argument("--older-than-days", type=_whole(0), metavar="N", help="only what was not verified for N days")
    verify.add_argument("--resume", action="store_true", help="go on where a run that was broken off stood")
    collect = _verb(verbs, "gc", "free what no restore point needs any more", "repository_work.collect")
    collect.add_argument("--dry-run", action="store_true", help="say what would be freed, change nothing")
    again = _verb(verbs, "reindex", "make lost or damaged indexes again now, as gc would", "repository_work.reindex")
    again.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    key = verbs.add_parser("key", help="the key of an encrypted repository")
    keys = key.add_subparsers(title="verbs", metavar="VERB", required=True)
    _verb(keys, "export", "print the key: put it into a safe", "repository_work.export_key")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str, run: str
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=help, description=f"{help}.", epilog=_WHICH)
    parser.add_argument("repository", metavar="REPOSITORY", help="see below")
    parser.add_argument("--key-file", metavar="FILE", help="the key of an encrypted repository")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE",
        help="ENDPOINT, REGION, FORCE_PATH_STYLE, SIGNATURE_VERSION, CREDENTIALS_FILE of an s3:// repository",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_later(run))
    return parser


def _whole(lowest: int, highest: int = 10**6) -> Callable[[str], int]:
    """A whole number in a range, for argparse."""

    def read(text: str) -> int:
        if text.isascii() and text.isdigit() and lowest <= int(text) <= highest:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number from {lowest} to {highest}")

    return read


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if 0 < value <= 100:
        return value
    raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number above 0, up to 100")


def _later(name: str) -> Callable[[argparse.Namespace], int]:
    """A function of a sibling module, which is imported when it is called: other commands do without its libraries."""

    def run(arguments: argparse.Namespace) -> int:
        module, _, function = name.partition(".")
        code: int = getattr(importlib.import_module(f"onebackup_driver.cli.{module}"), function)(arguments)
        return code

    return run
