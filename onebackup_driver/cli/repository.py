# SPDX-License-Identifier: Apache-2.0
"""onebackup repository"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from typing import Any, Optional

from onebackup_driver import errors, repositories, units
from onebackup_driver.cli import repository_work
from onebackup_driver.repository.format.header import Parameters
from onebackup_driver.repository.format.manifest import Manifest

_WHICH = """REPOSITORY is dir:/path, s3://bucket/prefix, the id of a marketplace with MARKET_MAD=onebackup, or the id of
a repository that the driver of this front-end has used."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command with its verbs."""
    parser = commands.add_parser(
        "repository", help="create, look at, check and clean the repositories of onebackup's own marketplaces"
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    create = _verb(verbs, "create", "make a new, empty repository", _create)
    create.add_argument("--encrypt", action="store_true", help="encrypt it; --key-file is made if it is not there")
    create.add_argument("--compression-level", type=int, default=Parameters.compression_level, metavar="1-19")
    create.add_argument("--grace-hours", type=int, metavar="N", help="gc deletes what was unused for so long (36)")
    create.add_argument("--longest-run-hours", type=int, metavar="N", help="longer backups are refused (24)")
    _verb(verbs, "list", "the restore points of disks in it", _list)
    show = _verb(verbs, "show", "one restore point", _show)
    show.add_argument("name", help="the name of the restore point, see: onebackup repository list")
    _verb(verbs, "status", "size, deduplication, compression, growth", _status)
    verify = _verb(verbs, "verify", "read everything and compare it with its hashes", repository_work.verify)
    verify.add_argument("--sample", type=float, metavar="PERCENT", help="only so much of it, chosen at random")
    verify.add_argument("--older-than-days", type=float, metavar="N", help="only what was not verified for N days")
    verify.add_argument("--resume", action="store_true", help="go on where a run that was broken off stood")
    collect = _verb(verbs, "gc", "free what no restore point needs any more", repository_work.collect)
    collect.add_argument("--dry-run", action="store_true", help="say what would be freed, change nothing")
    key = verbs.add_parser("key", help="the key of an encrypted repository")
    keys = key.add_subparsers(title="verbs", metavar="VERB", required=True)
    _verb(keys, "export", "print the key: put it into a safe", repository_work.export_key)


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str, run: Any
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=help, description=f"{help}.", epilog=_WHICH)
    parser.add_argument("repository", metavar="REPOSITORY", help="see below")
    parser.add_argument("--key-file", metavar="FILE", help="the key of an encrypted repository")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE",
        help="ENDPOINT, REGION, FORCE_PATH_STYLE, SIGNATURE_VERSION, CREDENTIALS_FILE of an s3:// repository",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)
    return parser


def _create(arguments: argparse.Namespace) -> int:
    made = repository_work.create(arguments)
    if arguments.json:
        print(json.dumps({"id": repositories.identity(made), "place": made.store.place}))
        return errors.EXIT_DONE
    kind = "encrypted" if made.header.encrypted else "not encrypted"
    print(f"made repository {repositories.identity(made)} at {made.store.place}, {kind}")
    if made.header.encrypted:
        print("without its key nobody can restore anything from it: onebackup repository key export")
    return errors.EXIT_DONE


def _list(arguments: argparse.Namespace) -> int:
    opened = repository_work.open(arguments)
    points = list(opened.manifests())
    if arguments.json:
        print(json.dumps([asdict(point) for point in points], indent=2, ensure_ascii=False))
        return errors.EXIT_DONE
    for point in points:
        print(_line(point))
    if not points:
        print("there is no restore point in it")
    return errors.EXIT_DONE


def _line(point: Manifest) -> str:
    size, new = (units.size_in_words(-(-amount // units.MIB)) for amount in (point.size_bytes, point.stored_bytes))
    return f"{point.name}  {units.local_time(point.created)}  {size:>10}  +{new:<10}  {repository_work.what(point)}"


def _show(arguments: argparse.Namespace) -> int:
    point = repository_work.open(arguments).load(arguments.name)
    values = asdict(point)
    if arguments.json:
        print(json.dumps(values, indent=2, ensure_ascii=False))
        return errors.EXIT_DONE
    facts = values.pop("facts")
    for name, value in values.items():
        print(f"{name:14} {value}")
    print(f"{'is':14} {repository_work.what(point)}")
    for name in ("format", "md5", "series"):
        if facts.get(name):
            print(f"{name:14} {facts[name]}")
    return errors.EXIT_DONE


def _status(arguments: argparse.Namespace) -> int:
    found = repository_work.status(arguments)
    if arguments.json:
        print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
        return errors.EXIT_DONE
    print(f"repository      {found.repository_id} at {found.place}{', encrypted' if found.encrypted else ''}")
    disks, data = _size(found.disk_bytes), _size(found.data_bytes)
    print(f"restore points  {found.restore_points}: {disks} of disks, {data} of data")
    print(f"used            {units.size_in_words(found.used_mb)}, free {_free(found.free_mb)}")
    print(f"deduplication   {_ratio(found.deduplication)}")
    print(f"compression     {_ratio(found.compression)}")
    verified = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.oldest_verification))
    print(f"all verified    {f'since {verified}' if found.oldest_verification else 'never'}")
    for day in found.growth:
        print(f"  {day.date}  {day.restore_points} restore points, +{_size(day.stored_bytes)}")
    return errors.EXIT_DONE


def _size(amount_bytes: int) -> str:
    return units.size_in_words(-(-amount_bytes // units.MIB))


def _ratio(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.2f}"


def _free(free_mb: Optional[int]) -> str:
    return "not known" if free_mb is None else units.size_in_words(free_mb)
