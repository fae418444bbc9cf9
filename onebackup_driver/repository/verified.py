# SPDX-License-Identifier: Apache-2.0
"""When each pack was last found whole: notes that every verify adds to, and rids of what later ones say as well.

Front-ends verify at once and their clocks may be wrong. So notes have one order, the same for all who look: by the time
they state, which counts at most as the time that the store gave them. Only what comes later in it supersedes a note:
of two who clear up at once, neither removes what the other one relies on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, Optional

from onebackup_driver import clock
from onebackup_driver.repository import notes, problems
from onebackup_driver.repository.format import note, pack
from onebackup_driver.repository.repository import Repository

_PACKS = 50_000
_DAY_S = 24 * 3600
#: A run that wrote nothing for so long is resumed only when it is the last one that was broken off.
_RESUMABLE_S = 7 * _DAY_S


class _Note(NamedTuple):
    """`when`: its packs were read after it; `everything`: its run was to check all packs; `modified` by the store."""

    when: float
    finished: bool
    modified: float
    name: str
    run: str
    everything: bool


def record(repository: Repository, run: str, began: float, packs: Collection[bytes]) -> None:
    """Note packs that a run has found whole since it began; it goes on."""
    _put(repository, run, began, packs, finished=False, everything=False)


def finish(repository: Repository, run: str, began: float, packs: Collection[bytes], everything: bool) -> None:
    """Note all packs that a run has found whole; it has come to its end. `everything`: it was to check all of them."""
    ordered = sorted(packs)
    for start in range(0, max(1, len(ordered)), _PACKS):
        _put(repository, run, began, ordered[start : start + _PACKS], finished=True, everything=everything)


def _put(
    repository: Repository, run: str, began: float, packs: Collection[bytes], finished: bool, everything: bool
) -> None:
    content = {
        "run": run, "began": began, "time": began, "packs": [pack_id.hex() for pack_id in packs],
        "finished": finished, "everything": everything,
    }  # fmt: skip
    notes.put(repository, note.VERIFIED, content)


class History:
    """All that is noted. What claims to be of the future was written by a machine whose clock was wrong, or this one's
    is: it is neither believed nor removed. Damaged notes are added to `damaged`. Raises StoreFailed."""

    def __init__(self, repository: Repository, damaged: Optional[list[problems.Damaged]] = None):
        self._repository = repository
        self._notes: list[_Note] = []
        self._newest: dict[bytes, int] = {}
        self._not_believed: set[int] = set()
        latest = clock.now() + _DAY_S
        for name, content, modified in notes.every(repository, note.VERIFIED, [] if damaged is None else damaged):
            self._add(name, content, modified, latest)

    def _add(self, name: str, content: dict[str, Any], modified: float, latest: float) -> None:
        number = len(self._notes)
        finished, everything = (bool(content.get(key)) for key in ("finished", "everything"))
        made = _Note(min(content["time"], modified), finished, modified, name, content["run"], everything)
        self._notes.append(made)
        if made.when > latest:
            self._not_believed.add(number)
            return
        for text in content["packs"]:
            pack_id = bytes.fromhex(text)
            before = self._newest.get(pack_id)
            if before is None or self._notes[before] < made:
                self._newest[pack_id] = number

    def last_verified(self) -> dict[bytes, float]:
        """When each pack was last found whole, in seconds since the epoch."""
        return {pack_id: self._notes[number].when for pack_id, number in self._newest.items()}

    def unfinished(self) -> tuple[str, set[bytes]]:
        """The run that was broken off last, and the packs that it has found whole; "" when there is none."""
        runs = self._resumable()
        if not runs:
            return "", set()
        last, packs = max(runs, key=lambda run: (runs[run], run)), set[bytes]()
        for _, content, _ in notes.every(self._repository, note.VERIFIED, []):
            if content["run"] == last:
                packs.update(map(bytes.fromhex, content["packs"]))
        return last, packs

    def _resumable(self) -> dict[str, float]:
        """Runs without an end, and when they wrote last by the store's clock; not those from before a run that has
        checked everything."""
        ended = {made.run for made in self._notes if made.finished}
        runs: dict[str, float] = {}
        for made in self._notes:
            if made.run not in ended:
                runs[made.run] = max(made.modified, runs.get(made.run, made.modified))
        whole = self._last_whole()
        return {run: at for run, at in runs.items() if whole is None or at >= self._notes[whole].modified}

    def _last_whole(self) -> Optional[int]:
        """The number of the last note of a run that has checked everything."""
        found = [number for number, made in enumerate(self._notes) if made.finished and made.everything]
        return max(found, key=lambda number: (self._notes[number].modified, self._notes[number].name), default=None)

    def superseded(self, needed: Collection[bytes]) -> list[str]:
        """Names of notes that tell nothing, in the order in which they may go: each pack in them is in a later one, or
        gone. `needed`: packs that are there. Raises StoreFailed."""
        live = self._live(needed) | self._not_believed
        runs, latest = self._resumable(), max((made.modified for made in self._notes), default=0.0)
        kept = {run for run, at in runs.items() if at > latest - _RESUMABLE_S or at == max(runs.values())}
        whole = self._last_whole()
        stay = {
            number for number, made in enumerate(self._notes) if number in live or number == whole or made.run in kept
        }
        begun = {self._notes[number].run for number in stay if not self._notes[number].finished}
        going = [made for number, made in enumerate(self._notes) if number not in stay]
        # the end of a run goes last: without it the run would seem to be one that was broken off
        return [made.name for made in sorted(going, key=lambda made: made.finished)
                if not (made.finished and made.run in begun)]  # fmt: skip

    def _live(self, needed: Collection[bytes]) -> set[int]:
        """The notes that are the last ones on a pack that is there."""
        live = {number for pack_id, number in self._newest.items() if pack_id in needed}
        doubtful = {pack_id: number for pack_id, number in self._newest.items() if number not in live}
        return live | set(self._there(doubtful)) if doubtful else live

    def _there(self, doubtful: dict[bytes, int]) -> Iterator[int]:
        """A listing may lack what is new, see docs/repository-format.md."""
        young = max(made.modified for made in self._notes) - self._repository.parameters.grace_s
        yield from (number for number in set(doubtful.values()) if self._notes[number].modified > young)
        for entry in self._repository.store.list(pack.PREFIX):
            number = doubtful.get(pack.id_of(entry.name))
            if number is not None:
                yield number


def prune(repository: Repository, needed: Collection[bytes]) -> int:
    """Remove notes that tell nothing any more; how many. `needed`: packs that are there. Raises StoreFailed."""
    names = History(repository).superseded(needed)
    for name in names:
        repository.store.delete(name)
    return len(names)
