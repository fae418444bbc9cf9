# SPDX-License-Identifier: Apache-2.0
"""What must hold after whatever has happened to a repository. One function, for all cases."""

from __future__ import annotations

from collections.abc import Collection
from typing import Optional

from onebackup_driver.repository import gc, problems, reading, repository, verify

from .. import disks
from . import world
from .places import Place

_TROUBLE = (problems.RepositoryError, problems.WrongKey, problems.NotARepository)


def broken(place: Place, may_be_gone: Collection[str] = (), next_label: str = "A4") -> list[str]:
    """What does not hold, in words; empty when all is well.

    Every restore point that was good is complete and restores byte for byte (those in `may_be_gone` may not be there
    at all); nothing half-made is listed; verify finds all whole; a next save succeeds and restores; gc afterwards
    removes what was left behind and nothing else.
    """
    try:
        return _broken(place, may_be_gone, next_label)
    except _TROUBLE as error:
        return [f"afterwards: {type(error).__name__}: {error}"]


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What only reads leaves every object as it was: then all that was good still is."""
    return [f"is another one, new or gone: {name}" for name in before.keys() ^ after.keys()] + [
        f"is another one now: {name}" for name in before.keys() & after.keys() if before[name] != after[name]
    ]


def _broken(place: Place, may_be_gone: Collection[str], next_label: str) -> list[str]:
    opened = place.open()
    wrong = _points(place, opened, may_be_gone)
    report = verify.verify(opened)
    if not report.is_whole:
        wrong.append(f"verify: {report.lines()[1:4]}")
    parent = max((name for name in opened.names() if name in place.points), default=None)
    saved = world.save(opened, next_label, parent)
    place.points[saved.name] = next_label
    if disks.restored(opened, saved) != world.disk(next_label):
        wrong.append("the next save does not restore")
    opened.store.close()
    return wrong + _swept(place, may_be_gone)


def _points(place: Place, opened: repository.Repository, may_be_gone: Collection[str]) -> list[str]:
    names, wrong = opened.names(), []
    wrong += [f"{name} is gone" for name in place.points if name not in names and name not in may_be_gone]
    for name in names:
        try:
            point = opened.load(name)
            label = str(point.facts["label"])
            if disks.restored(opened, point) != world.disk(label):
                wrong.append(f"{name} ({label}) restores something else")
            if place.points.get(name, label) != label:
                wrong.append(f"{name} is {label} now")
        except _TROUBLE as error:
            wrong.append(f"{name} is listed but: {error}")
    return wrong


def _swept(place: Place, may_be_gone: Collection[str]) -> list[str]:
    """What gc does when everything is old: two runs, the grace period between and before them."""
    for hours in (37, 37):
        place.age(hours)
        opened = place.open()
        gc.collect(opened)
        opened.store.close()
    opened = place.open()
    wrong = _points(place, opened, may_be_gone)
    needed = _needed(opened)
    wrong += [f"left behind by gc: {name}" for name in place.names() if _is_leftover(name, needed)]
    wrong += _condemned(opened, needed)
    report = verify.verify(opened)
    if not report.is_whole:
        wrong.append(f"verify after gc: {report.lines()[1:4]}")
    opened.store.close()
    return wrong


def _is_leftover(name: str, needed: set[bytes]) -> bool:
    folder, _, rest = name.partition("/")
    if "/." in name or name.startswith(("upload:", "clock/")):
        return True
    return folder == "packs" and bytes.fromhex(rest[3:]) not in needed


def _needed(opened: repository.Repository) -> set[bytes]:
    """Worked out from the manifests and the packs alone, without any index."""
    needed: set[bytes] = set()
    for name in opened.names():
        for entry in opened.cells(name).entries:
            needed.add(entry.pack_id)
            needed.update(opened.tables.table(reading.entry_of(opened.store, entry.pack_id)).packs)
    return needed


def directly_needed(opened: repository.Repository) -> set[bytes]:
    """The packs that manifests name."""
    return {entry.pack_id for name in opened.names() for entry in opened.cells(name).entries}


def _condemned(opened: repository.Repository, needed: set[bytes]) -> list[str]:
    from onebackup_driver.repository import notes

    noted = {pack_id for note in notes.condemned(opened) for pack_id in note.packs}
    return [f"still condemned though it is gone: {pack_id.hex()}" for pack_id in noted - needed]


def refused_in_words(error: Optional[BaseException], place: str) -> list[str]:
    """An operation ends well, or with one line that a person can act on: it says where, and what."""
    if error is None:
        return []
    if not isinstance(error, _TROUBLE):
        return [f"not an error for people: {type(error).__name__}: {str(error)[:200]}"]
    text = str(error)
    wrong = [] if len(text.splitlines()) == 1 and 10 < len(text) < 500 else [f"not one line: {text!r}"]
    if isinstance(error, problems.StoreFailed) and place not in text:
        wrong.append(f"does not say where ({place}): {text}")
    return wrong
