# SPDX-License-Identifier: Apache-2.0
"""Several front-ends at once on one repository: processes with caches of their own save, delete, collect and verify.

Each follows a schedule made of its seed. With a short grace period gc deletes all the time; a writer for which that is
too short is refused by the longest run, and that is all that may happen to it.
"""

from __future__ import annotations

import random
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Optional

from onebackup_driver.repository import gc, location, problems, repository, verify
from onebackup_driver.repository.format.header import Parameters

from .. import disks
from . import invariants, victim, world
from .cases import Case, Outcome, Wanted
from .rig import Rig
from .victim import Address

GROUP = "crowd"
_PROCESSES, _STEPS, _SEEDS = 3, 14, 8
_SHORT = disks.SMALL._replace(longest_run_s=4, grace_s=5)
_PATIENCE_S = 240
_FAULTS: dict[str, Parameters] = {"usual grace": disks.SMALL, "short grace": _SHORT}


def cases(rig: Rig, wanted: Wanted) -> list[Case]:
    found = []
    for where, seeds in (("directory", _SEEDS), ("directory encrypted", _SEEDS), ("s3", _SEEDS // 2)):
        for operation in ("everything", "the same content"):
            if wanted(where, operation):
                found += [Case(GROUP, where, operation, fault, seed=seed) for fault in _FAULTS for seed in range(seeds)]
    return found


def run(case: Case, rig: Rig) -> Outcome:
    content = _empty(case)
    with rig.place(case.where, content) as place:
        pairs, processes = [], []
        for number in range(_PROCESSES):
            mine, its = victim._context().Pipe()
            text, options = place.address()
            own = {**options, "CACHE": f"{options['CACHE']}-{number}"} if options else {}
            given = (its, (text, own), content.key, case.operation, case.seed, number)
            processes.append(victim._context().Process(target=_live, args=given))
            processes[-1].start()
            its.close()
            pairs.append(mine)
        wrong = []
        for number, pipe in enumerate(pairs):
            try:
                points, complaints = pipe.recv() if pipe.poll(_PATIENCE_S) else ({}, ["did not end"])
            except EOFError:
                points, complaints = {}, ["died"]
            place.points.update(points)
            wrong += [f"front-end {number}: {text}" for text in complaints]
        for process in processes:
            process.kill() if process.is_alive() and wrong else process.join()
        return Outcome(case, case.fault, wrong + invariants.broken(place))


def _empty(case: Case) -> world.World:
    """A repository with nothing in it."""
    import tempfile

    from onebackup_driver.repository.stores.directory import DirectoryStore

    key = disks.KEY if "encrypted" in case.where else None
    with tempfile.TemporaryDirectory(prefix="onebackup-faults-") as name:
        repository.create(DirectoryStore(Path(name)), _FAULTS[case.fault], key)
        return world.World(key, world.read(Path(name)), {})


def _live(pipe: Connection, address: Address, key: Optional[bytes], operation: str, seed: int, number: int) -> None:
    front_end = _FrontEnd(address, key, operation, random.Random(f"{seed} {number}"))
    try:
        for _ in range(_STEPS):
            front_end.step()
    except Exception as error:
        front_end.complaints.append(f"{type(error).__name__}: {error}")
    pipe.send((front_end.points, front_end.complaints))


class _FrontEnd:
    def __init__(self, address: Address, key: Optional[bytes], operation: str, source: random.Random):
        self._address, self._key, self._operation, self._source = address, key, operation, source
        self.points: dict[str, str] = {}
        self.complaints: list[str] = []

    def step(self) -> None:
        opened = repository.open(location.parse(*self._address).open_store(), self._key)
        kinds = ["save", "save", "save", "delete", "gc", "verify", "restore"]
        getattr(self, self._source.choice(kinds))(opened)
        opened.store.close()

    def save(self, opened: repository.Repository) -> None:
        labels = ["A1"] if self._operation == "the same content" else ["A1", "A2", "A3", "A4", "B", "V", "C1", "C2"]
        label, parent = self._source.choice(labels), self._source.choice([None, *self.points])
        try:
            self.points[world.save(opened, label, parent).name] = label
        except problems.RunTooLong:
            pass

    def delete(self, opened: repository.Repository) -> None:
        if self.points:
            name = self._source.choice(sorted(self.points))
            del self.points[name]
            opened.delete(name)

    def gc(self, opened: repository.Repository) -> None:
        gc.collect(opened)

    def verify(self, opened: repository.Repository) -> None:
        report = verify.verify(opened)
        if not report.is_whole:
            self.complaints.append(f"verify: {report.lines()[1:4]}")

    def restore(self, opened: repository.Repository) -> None:
        for name, label in self.points.items():
            if disks.restored(opened, opened.load(name)) != world.disk(label):
                self.complaints.append(f"{name} ({label}) restores something else")
