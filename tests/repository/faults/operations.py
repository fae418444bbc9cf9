# SPDX-License-Identifier: Apache-2.0
"""What is done to a repository while something goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

from onebackup_driver.repository import gc, repository, status, verify
from onebackup_driver.repository.stores import base

from .. import disks
from . import world
from .world import World

Repository = repository.Repository


class WrongResult(Exception):
    """An operation ended well and brought something else than it should."""


def run(name: str, store: base.Store, content: World) -> None:
    """Open the repository and do it. Raises what the engine raises, and WrongResult."""
    OPERATIONS[name](repository.open(store, content.key), content)


def gone(name: str, content: World) -> set[str]:
    """Restore points that may be gone afterwards."""
    return {content.newest("B")} if name == "delete" else set()


def _save(opened: Repository, content: World) -> None:
    saved = world.save(opened, "A3", content.newest("A2"))
    if saved.name not in opened.names():
        raise WrongResult("what was saved is not listed")


def _save_large(opened: Repository, content: World) -> None:
    world.save(opened, "large")


def _save_again(opened: Repository, content: World) -> None:
    """Nothing is new: found through the index only."""
    world.save(opened, "C2")


def _delete(opened: Repository, content: World) -> None:
    opened.delete(content.newest("B"))


def _gc(opened: Repository, content: World) -> None:
    gc.collect(opened)


def _dry_run(opened: Repository, content: World) -> None:
    if not gc.collect(opened, dry_run=True).deleted:
        raise WrongResult("dry run would delete nothing")


def _verify(opened: Repository, content: World) -> None:
    report = verify.verify(opened)
    if not report.is_whole:
        raise WrongResult(f"verify: {report.lines()}")


def _restore(opened: Repository, content: World) -> None:
    for label in ("A2", "V", "C2"):
        _compare(disks.restored(opened, opened.load(content.newest(label))), label)
    point = opened.load(content.newest("B"))
    _compare(b"".join(opened.read(point, at, 50_000) for at in range(0, point.size_bytes, 50_000)), "B")


def _compare(found: bytes, label: str) -> None:
    if found != world.disk(label):
        raise WrongResult(f"{label} restores something else")


def _list(opened: Repository, content: World) -> None:
    points = {point.name: str(point.facts["label"]) for point in opened.manifests()}
    if points != content.points:
        raise WrongResult(f"listed: {sorted(points)}")
    if status.of(opened).restore_points != len(points):
        raise WrongResult("status counts others")


OPERATIONS: dict[str, Callable[[Repository, World], None]] = {
    "save": _save,
    "save-large": _save_large,
    "save-again": _save_again,
    "save-merging": _save,
    "delete": _delete,
    "gc": _gc,
    "gc-dry-run": _dry_run,
    "verify": _verify,
    "restore": _restore,
    "list": _list,
}


#: These change nothing at all.
READING = ("gc-dry-run", "restore", "list")


def world_for(name: str, encrypted: bool) -> World:
    return world.made(encrypted, many_indexes=name == "save-merging", large=name == "save-large")


def outcome(name: str, store: base.Store, content: World) -> Optional[Exception]:
    """What it raised."""
    try:
        run(name, store, content)
    except Exception as error:  # judged by the caller
        return error
    return None
