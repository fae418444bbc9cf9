# SPDX-License-Identifier: Apache-2.0
"""Bits flipped, objects cut off, gone, exchanged, replayed, appended to: every kind of object, all its places."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Optional

from onebackup_driver.cli import main
from onebackup_driver.repository import gc, keys, problems, verify
from onebackup_driver.repository.format import pack

from .. import disks
from . import damaging, invariants, world
from .cases import Case, Outcome, Wanted
from .places import Directory, Place
from .rig import Rig

GROUP = "damage"
_WHERE = ("directory", "directory encrypted", "s3", "s3 encrypted")
_TROUBLE = (problems.RepositoryError, problems.WrongKey, problems.NotARepository)
#: On S3 one object of each kind is enough: what differs is only how it is read.
_ON_S3 = 1


def cases(rig: Rig, wanted: Wanted) -> list[Case]:
    """Each class of position and each other damage, to each object of the world."""
    found = []
    for where in _WHERE:
        objects = _objects(world.made("encrypted" in where))
        seen: dict[str, int] = {}
        for at, name in enumerate(sorted(objects)):
            kind = damaging.kind_of(name)
            seen[kind] = seen.get(kind, 0) + 1
            if not wanted(where, kind) or (where.startswith("s3") and seen[kind] > _ON_S3):
                continue
            faults = [f"flip: {place}" for place in damaging.places(name, objects[name])] + list(damaging.WHOLES)
            found += [Case(GROUP, where, kind, fault, at, seed) for seed, fault in enumerate(faults)]
    return found


def _objects(content: world.World) -> dict[str, bytes]:
    return {name: stored for name, (stored, _) in content.objects.items() if not name.startswith("clock/")}


def run(case: Case, rig: Rig) -> Outcome:
    content = world.made("encrypted" in case.where)
    objects = _objects(content)
    name = sorted(objects)[case.at]
    change = _change(case, name, objects)
    if not change:
        return Outcome(case, skipped="there is no other one")
    with rig.place(case.where, content) as place:
        for item, stored in change.items():
            place.write(item, stored)
        return Outcome(case, case.operation, _Judging(place, case.fault, set(change), objects, rig).wrong())


def _change(case: Case, name: str, objects: dict[str, bytes]) -> Optional[dict[str, Optional[bytes]]]:
    if case.fault.startswith("flip: "):
        begin, end = damaging.places(name, objects[name])[case.fault[6:]]
        return {name: damaging.flipped(objects[name], begin, end, case.seed)}
    return damaging.WHOLES[case.fault](name, objects[name], objects)


class _Judging:
    def __init__(self, place: Place, fault: str, names: set[str], objects: dict[str, bytes], rig: Rig):
        self._place, self._fault, self._names, self._objects, self._rig = place, fault, names, objects, rig
        self._kind = damaging.kind_of(min(names))
        self._hit: set[str] = set()
        self._gone = {item.partition("/")[2] for item in names if self._kind == "manifests" and fault == "missing"}
        self._wrong: list[str] = []

    def wrong(self) -> list[str]:
        self._read()
        if self._kind == "repository.json":
            self._repair()
            return self._wrong + invariants.broken(self._place)
        if self._kind == "packs" and (self._fault in ("missing", "empty") or "cut" in self._fault):
            self._save("A3")  # sizes are compared before anything refers to a pack
        self._verify()
        self._save("A4")
        self._collect()
        self._repair()
        return self._wrong + invariants.broken(self._place, self._gone)

    def _read(self) -> None:
        """Every restore point: the right bytes, or an error that names it and the object."""
        for name, label in self._place.points.items():
            if name in self._gone:
                continue
            try:
                opened = self._place.open()
                data = disks.restored(opened, opened.load(name))
                if data != world.disk(label):
                    self._wrong.append(f"{name} ({label}) restores something else")
            except _TROUBLE as error:
                self._hit.add(name)
                self._say(error, name)

    def _say(self, error: Exception, name: str) -> None:
        text = str(error)
        if len(text.splitlines()) != 1:
            self._wrong.append(f"not one line: {text}")
        if self._kind != "repository.json" and name not in text:
            self._wrong.append(f"does not name the restore point: {text}")
        if self._kind in ("packs", "manifests") and not any(item in text for item in self._names):
            self._wrong.append(f"does not name the object: {text}")

    def _verify(self) -> None:
        report = verify.verify(self._place.open())
        said = "\n".join(report.lines())
        self._wrong += [f"verify does not name {name}: {said[:600]}" for name in self._hit if name not in said]
        if report.is_whole and (self._hit or self._is_seen()):
            self._wrong.append(f"verify finds {self._kind} whole")
        code = self._exit_code()
        mended = self._kind == "verified"  # the first verify removed it
        if code != (0 if report.is_whole or mended else 1):
            self._wrong.append(f"exit code {code}, but whole: {report.is_whole}")

    def _is_seen(self) -> bool:
        """Whether verify must see it: what is gone and told of nowhere else cannot be, nor packs nobody needs."""
        if self._fault == "missing" and self._kind != "packs":
            return False
        if self._kind == "packs":
            return not self._names.isdisjoint(_needed(self._place.world))
        return True

    def _exit_code(self) -> int:
        text, options = self._place.address()
        given = ["repository", "verify", text]
        for option, value in options.items():
            if option != "CACHE" and "ACCESS" not in option:
                given += ["--option", f"{option}={value}"]
        if options:
            given += ["--option", f"CREDENTIALS_FILE={self._rig.credentials_file}"]
        if self._place.key is not None:
            path = self._rig.directory / "key"
            path.touch(0o600)
            path.write_text(keys.export(self._place.key))
            given += ["--key-file", str(path)]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return main._guarded(given)

    def _save(self, label: str) -> None:
        """A next save succeeds and restores, whatever its parent is like."""
        opened = self._place.open()
        try:
            saved = world.save(opened, label, self._place.world.newest("A2"))
            self._place.points[saved.name] = label
            if disks.restored(self._place.open(), saved) != world.disk(label):
                self._wrong.append(f"what was saved ({label}) restores something else")
        except _TROUBLE as error:
            if self._kind == "condemned" and "gc" in str(error):
                return  # it says that gc mends it
            self._wrong.append(f"saving {label}: {type(error).__name__}: {error}")

    def _collect(self) -> None:
        """gc may refuse, in one line that names the object; what it deletes is checked when the damage is undone."""
        for hours in (37, 37):
            self._place.age(hours)
            try:
                gc.collect(self._place.open())
            except _TROUBLE as error:
                if self._kind not in ("manifests",) or not any(item in str(error) for item in self._names):
                    self._wrong.append(f"gc: {error}")

    def _repair(self) -> None:
        """Somebody brings the objects back from a copy: then all is as before."""
        for item in self._names:
            if self._kind in ("packs", "manifests", "repository.json") and not self._gone:
                self._place.write(item, self._objects[item])


def _needed(content: world.World) -> set[str]:
    """The names of the packs that any restore point reads from."""
    if id(content) not in _NEEDED:
        with tempfile.TemporaryDirectory(prefix="onebackup-faults-") as name:
            opened = Directory(content, Path(name) / "copy").open()
            _NEEDED[id(content)] = {pack.name_of(item) for item in invariants.directly_needed(opened)}
    return _NEEDED[id(content)]


_NEEDED: dict[int, set[str]] = {}
