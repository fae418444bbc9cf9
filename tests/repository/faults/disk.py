# SPDX-License-Identifier: Apache-2.0
"""Directories: the disk is full at any point, is read-only, belongs to somebody else, or is unmounted meanwhile."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

from onebackup_driver.repository import location

from . import invariants, mounts, operations, places, steps, victim
from .cases import Case, Outcome, Wanted
from .rig import Rig
from .world import World

GROUP = "disk"
_PAGE = 4096
_WHERE = "directory"
#: So many pages are free: none, one, … ; more than any of them needs at the end.
_FREE = {"save": 90, "save-again": 12, "save-merging": 110, "gc": 30, "verify": 8, "delete": 2}
_FILES = {"save": 12, "gc": 8}
_OTHERS = ("save", "delete", "gc", "verify", "restore", "list")
_NOBODY = 65534
_OPEN = ("permission denied",)


def cases(rig: Rig, wanted: Wanted) -> list[Case]:
    found = [Case(GROUP, _WHERE, name, "disk full", free) for name, most in _FREE.items() for free in range(most)]
    found += [Case(GROUP, _WHERE, name, "no more files", free) for name, most in _FILES.items() for free in range(most)]
    found += [Case(GROUP, _WHERE, name, fault) for name in _OTHERS for fault in ("read-only", "permission denied")]
    found += [Case(GROUP, _WHERE, name, "no room for temporary files") for name in ("save-merging", "gc")]
    found += [
        Case(GROUP, _WHERE, name, "unmounted", at) for name in ("save", "save-again", "gc") for at in range(1, 60)
    ]
    return [case for case in found if wanted(case.where, case.operation)]


def run(case: Case, rig: Rig) -> Outcome:
    if not mounts.permitted(rig.directory):
        return Outcome(case, skipped="we may not mount here")
    content = operations.world_for(case.operation, encrypted=False)
    # pytest's own directories are closed to others: what the user nobody reads is elsewhere
    base = Path(tempfile.mkdtemp(prefix="onebackup-faults-", dir=None if case.fault in _OPEN else rig.directory))
    try:
        outcome = _FAULTS[case.fault](case, content, base)
        outcome.step = outcome.step or case.fault
        return outcome
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _judged(case: Case, place: places.Place, error: object, must_work: bool = False) -> list[str]:
    wrong = []
    if error is not None and must_work:
        wrong.append(f"{case.operation} must go on: {error}")
    if isinstance(error, Exception):
        wrong += invariants.refused_in_words(error, place.address()[0])
    return wrong


def _full(case: Case, content: World, base: Path, options: str = "size=16m") -> Outcome:
    """All but a few pages, or files, are taken; then the space is there again."""
    with mounts.tmpfs(base / "mount", options):
        place = places.Directory(content, base / "mount" / "repository")
        ballast = base / "mount" / "ballast"
        _fill(ballast, case.at * _PAGE) if options.startswith("size") else _fill_files(ballast, case.at)
        error = operations.outcome(case.operation, place.open_store(), content)
        shutil.rmtree(ballast)
        wrong = _judged(case, place, error) + invariants.broken(place, operations.gone(case.operation, content))
        return Outcome(case, "it went through" if error is None else "refused", wrong)


def _fill(ballast: Path, free_bytes: int) -> None:
    ballast.mkdir()
    status = os.statvfs(ballast)
    taken = status.f_bavail * status.f_frsize - free_bytes
    with open(ballast / "file", "wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, taken - taken % _PAGE)


def _fill_files(ballast: Path, free: int) -> None:
    ballast.mkdir()
    for number in range(max(0, os.statvfs(ballast).f_favail - free)):
        (ballast / f"{number}").touch()


def _read_only(case: Case, content: World, base: Path) -> Outcome:
    with mounts.tmpfs(base / "mount", "size=16m"):
        place = places.Directory(content, base / "mount" / "repository")
        mounts.read_only(base / "mount", True)
        error = operations.outcome(case.operation, place.open_store(), content)
        mounts.read_only(base / "mount", False)
        wrong = _judged(case, place, error, case.operation in operations.READING)
        return Outcome(case, wrong=wrong + invariants.broken(place))


def _denied(case: Case, content: World, base: Path) -> Outcome:
    """The files are those of root, the process is that of nobody."""
    place = places.Directory(content, base / "repository")
    base.chmod(0o755)
    death = victim.run(case.operation, place.address(), content, 0, "", user=_NOBODY)
    wrong = [] if "not one" not in death.error else [death.error]
    if case.operation in operations.READING and death.error:
        wrong.append(f"{case.operation} must go on: {death.error}")
    if case.operation not in operations.READING and "Permission denied" not in death.error:
        wrong.append(f"said: {death.error!r}")
    if death.error and (not death.error.startswith("StoreFailed: dir:") or len(death.error.splitlines()) != 1):
        wrong.append(f"not a line to act on: {death.error}")
    return Outcome(case, wrong=wrong + invariants.broken(place))


def _no_temporary(case: Case, content: World, base: Path) -> Outcome:
    place = places.Directory(content, base / "repository")
    with mounts.tmpfs(base / "tmp", "size=4k"):
        _fill(base / "tmp" / "ballast", 0)
        with mock.patch.object(tempfile, "tempdir", str(base / "tmp")):
            error = operations.outcome(case.operation, place.open_store(), content)
    wrong = _judged(case, place, error, must_work=case.operation == "save-merging") if error is None else []
    if case.operation == "save-merging" and error is not None:
        wrong.append(f"the restore point was published, but: {error}")
    return Outcome(case, wrong=wrong + invariants.broken(place))


def _unmounted(case: Case, content: World, base: Path) -> Outcome:
    """What is written after that must not land in the empty directory below."""
    real = places.Directory(content, base / "real")
    below = base / "mount"
    seen: list[str] = []

    def act(number: int, when: str, label: str) -> None:
        if number == case.at and when == "before":
            mounts.unmount(below)
            seen.append(label)

    with mounts.bound(real.root, below):
        store = steps.Stepped(location.parse(f"dir:{below}").open_store(), act)
        error = operations.outcome(case.operation, store, content)
    if not seen:
        return Outcome(case, skipped="it takes fewer steps")
    left = [path.as_posix() for path in below.rglob("*")]
    wrong = [f"written beside the mount: {left}"] if left else []
    if error is None and seen[0].startswith(("put manifests", "put index", "create", "publish")):
        wrong.append("it said that all was well")
    if error is not None:
        wrong += invariants.refused_in_words(error, f"dir:{below}")
    return Outcome(case, seen[0], wrong + invariants.broken(real))


_FAULTS: dict[str, Callable[[Case, World, Path], Outcome]] = {
    "disk full": _full,
    "no more files": partial(_full, options="nr_inodes=400,size=16m"),
    "read-only": _read_only,
    "permission denied": _denied,
    "no room for temporary files": _no_temporary,
    "unmounted": _unmounted,
}
