# SPDX-License-Identifier: Apache-2.0
"""What the verbs of `onebackup repository` do."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from onebackup_driver import app, configuration, errors, frontend, paths, privileges, repositories, served
from onebackup_driver.cli import progress_line
from onebackup_driver.market import listed
from onebackup_driver.repository import gc, keys, location, problems, reindexing, repository
from onebackup_driver.repository import status as repository_status
from onebackup_driver.repository import verify as repository_verify
from onebackup_driver.repository.format import header
from onebackup_driver.repository.format.header import Parameters
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.repository import Repository
from onebackup_driver.site_rules import Configuration

_HOUR_S = 3600
#: In the text of a VM's app, which is a template or XML.
_VM_ID = re.compile(r"\bVM_ID(?:=\"|>(?:<!\[CDATA\[)?)([0-9]{1,10})\b")


def create(arguments: argparse.Namespace) -> Repository:
    """Make a repository. Raises UsageError, AlreadyThere, StoreFailed."""
    settings, where = _settings(arguments), _where()[1]
    if arguments.encrypt and not settings.key_file:
        raise errors.UsageError("--encrypt needs --key-file FILE (or KEY_FILE in the marketplace's template)")
    parameters = _parameters(arguments)
    if parameters.problem():
        raise errors.UsageError(parameters.problem())
    place = repositories.locate(settings, where.state / "cache")
    if place.kind == "dir":
        _check_empty(place.path)
        _check_writable(place.path)
    store = place.open_store()
    return repository.create(store, parameters, _new_key(settings.key_file) if settings.key_file else None)


def _check_empty(folder: Path) -> None:
    """A repository gets a directory of its own: what else is in it could be overwritten, and gc would meet it. What is
    in the way in a repository is told by `repository.create`. Raises Refused."""
    if not folder.is_dir() or (folder / header.NAME).exists():
        return
    others = sorted(path.name for path in folder.iterdir() if path.name != "lost+found" and path.name[0] != ".")
    if others:
        named = ", ".join(others[:3])
        raise errors.Refused(f"{folder} is not empty ({named}): a repository gets a directory of its own")


def _check_writable(folder: Path) -> None:
    """Raises Refused with what root should type."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        user = privileges.own_name()
        raise errors.Refused(
            f"user {user} may not write in {nearest}; as root: install -d -o {user} -m 700 {shlex.quote(str(folder))}"
        )


def _parameters(arguments: argparse.Namespace) -> Parameters:
    parameters = Parameters(compression_level=arguments.compression_level)
    if arguments.longest_run_hours is not None:
        parameters = parameters._replace(longest_run_s=arguments.longest_run_hours * _HOUR_S)
    if arguments.grace_hours is not None:
        parameters = parameters._replace(grace_s=arguments.grace_hours * _HOUR_S)
    return parameters


def _new_key(name: str) -> bytes:
    path = Path(name)
    if path.exists():
        return keys.load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return keys.create(path)


def open(arguments: argparse.Namespace) -> Repository:
    """The repository that is meant. Raises UsageError, NotARepository, WrongKey, StoreFailed."""
    return repositories.open(_settings(arguments), _where()[1])


def point(arguments: argparse.Namespace) -> Manifest:
    """The restore point that is meant. Raises Refused when there is none, and what `open` raises."""
    try:
        return open(arguments).load(arguments.name)
    except problems.Missing:
        raise errors.Refused(
            f"there is no restore point {arguments.name[:80]!r} in it; see: onebackup repository list"
        ) from None


def status(arguments: argparse.Namespace) -> repository_status.Status:
    with progress_line.shown("restore points read") as shown:
        return repository_status.of(open(arguments), shown)


def points(opened: Repository) -> list[Manifest]:
    """All restore points, oldest first."""
    with progress_line.shown("restore points read") as shown:
        return repository_status.read(opened, shown)


def verify(arguments: argparse.Namespace) -> int:
    """Exit code 0 only when all that was chosen is whole."""
    choice = repository_verify.Choice(arguments.sample, arguments.older_than_days, arguments.resume)
    with progress_line.shown("packs verified") as shown:
        report = repository_verify.verify(open(arguments), choice, shown)
    if arguments.json:
        print(json.dumps({**asdict(report), "whole": report.is_whole}, indent=2))
    else:
        print("\n".join(report.lines()))
        print(report.verdict())
    return errors.EXIT_DONE if report.is_whole else errors.EXIT_FAILED


def reindex(arguments: argparse.Namespace) -> int:
    """Index what no whole index knows. Exit code 1 when something had to be left out."""
    with progress_line.shown("packs read") as shown:
        report = reindexing.reindex(open(arguments), arguments.dry_run, shown)
    print(json.dumps(asdict(report), indent=2) if arguments.json else "\n".join(report.lines()))
    return errors.EXIT_FAILED if report.unreadable else errors.EXIT_DONE


def collect(arguments: argparse.Namespace) -> int:
    """Free what nothing needs; records of VMs whose disks were all deleted go first."""
    opened = open(arguments)
    gone = _orphans(opened)
    if not arguments.dry_run:
        for point in gone:
            opened.delete(point.name)
    with progress_line.shown("restore points read") as shown:
        report = gc.collect(opened, arguments.dry_run, shown)
    if arguments.json:
        print(json.dumps(_as_json(report, gone), indent=2))
        return errors.EXIT_DONE
    if gone:
        print(f"{'would be ' if arguments.dry_run else ''}deleted: records of {len(gone)} VM backups without disks")
    print("\n".join(report.lines()))
    return errors.EXIT_DONE


def _orphans(opened: Repository) -> list[Manifest]:
    """What is known of VMs none of whose disks is there any more. They are written after the disks."""
    made = points(opened)
    runs = set(listed.runs_of_disks(made))
    return [item for item in made if item.facts.get("kind") == served.VM and item.facts.get("run") not in runs]


def _as_json(report: gc.Report, gone: list[Manifest]) -> dict[str, Any]:
    values: dict[str, Any] = {"dry_run": report.dry_run, "restore_points": report.restore_points}
    for name in ("used", "young", "condemned_now", "waiting", "deleted"):
        packs = getattr(report, name)
        values[name] = {"packs": len(packs), "bytes": sum(packs.values())}
    return {**values, "orphaned_records": [item.name for item in gone], "broken": list(report.broken.values())}


def export_key(arguments: argparse.Namespace) -> int:
    """Print the key, after a look whether it is that of the repository."""
    settings = _settings(arguments)
    if not settings.key_file:
        raise errors.UsageError("no key file: give --key-file, or KEY_FILE in the marketplace's template")
    opened = repositories.open(settings, _where()[1])
    text = keys.export(keys.load(Path(settings.key_file)))
    if arguments.json:
        print(json.dumps({"repository": repositories.identity(opened), "key": text}))
    else:
        print(f"key of the onebackup repository {repositories.identity(opened)} at {opened.store.place}:\n{text}")
    return errors.EXIT_DONE


def what(point: Manifest) -> str:
    """Of what a restore point is, in words."""
    if point.facts.get("kind") not in (served.DISK, served.VM):
        return "-"
    if not served.has_good_facts(point):
        return "what it says of its VM is not as it is written"
    if point.facts.get("kind") == served.VM:
        found = _VM_ID.search(str(point.facts.get("text", "")))
        which = f"VM {found[1]}" if found else f"VM of run {point.facts.get('run', '')}"
        return f"{which}, {point.facts.get('disks', 0)} disk(s): its description"
    attributes = dict(map(tuple, point.facts.get("app", [])))
    tags: Any = attributes.get("ONEBACKUP", {})
    name = str(attributes.get("NAME", ""))
    if not isinstance(tags, dict) or not tags.get("VM_ID"):
        return name or "-"
    disk = f"disk {tags['DISK_ID']} of " if "DISK_ID" in tags else ""
    return f"{disk}VM {tags['VM_ID']}" + (f" ({tags['VM_NAME']})" if tags.get("VM_NAME") else "")


def _settings(arguments: argparse.Namespace) -> repositories.Settings:
    text = arguments.repository
    site, where = _where()
    if text.isascii() and text.isdigit() and len(text) < 10:
        found = _of_marketplace(int(text), site, where)
    elif text.startswith(("dir:", "s3:")):
        found = repositories.Settings(text, credentials_file=site.s3_credentials_file)
    else:
        known = repositories.known(where, text) if text.isalnum() else None
        if known is None:
            meant = f"; is it dir:{text[:80]}?" if text.startswith("/") else ""
            raise errors.UsageError(f"{text[:80]!r} is neither dir:/path nor s3://bucket/prefix nor a known id{meant}")
        found = known
    return _overlaid(found, arguments)


def _overlaid(found: repositories.Settings, arguments: argparse.Namespace) -> repositories.Settings:
    options = dict(found.options)
    for item in arguments.option:
        name, sign, value = item.partition("=")
        if not sign or name not in location.OPTIONS:
            raise errors.UsageError(f"--option {item[:40]!r}: NAME=VALUE with a name of {', '.join(location.OPTIONS)}")
        options[name] = value
    credentials = options.pop("CREDENTIALS_FILE", "") or found.credentials_file
    return replace(found, options=options, credentials_file=credentials, key_file=arguments.key_file or found.key_file)


def _of_marketplace(number: int, site: Configuration, where: paths.Paths) -> repositories.Settings:
    front_end = frontend.connect(where, site.timeouts.call_s, site.timeouts.patience_s)
    marketplace = app.parse_marketplace(front_end.element("one.market.info", number))
    if marketplace.driver != repositories.DRIVER:
        raise errors.Refused(f"marketplace {number} ({marketplace.name}) is one of the driver {marketplace.driver}")
    return repositories.shown(marketplace, site.s3_credentials_file, where)


def _where() -> tuple[Configuration, paths.Paths]:
    where = paths.find()
    site = configuration.load(where.configuration)
    where = paths.with_state(where, site.state_directory) if site.state_directory else where
    privileges.drop_to_owner_of(where.state)  # what root makes the driver could not read
    return site, where
