# SPDX-License-Identifier: Apache-2.0
"""The front-end: pools in memory, written through to the database, one lock, logs and background work."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable, Optional

from sandbox.core import errors, names
from sandbox.core.faults import Faults
from sandbox.core.kinds import KINDS
from sandbox.core.record import Record
from sandbox.core.settings import Settings
from sandbox.core.store import Store

# Deleted objects that hooks may still be told about.
REMEMBERED = 100
Event = Callable[[], None]


class Front:
    """All state of one emulated oned. Hold `transaction()` while touching records."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.state / "db.sqlite")
        self.faults = Faults()
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.endpoint = ""
        self.pools: dict[str, dict[int, Record]] = {call: {} for call in (*KINDS, "acl")}
        self.counters = self.store.counters()
        self.listeners: list[Callable[[Front, Record], Optional[Event]]] = []
        self._changed: dict[tuple[str, int], Record] = {}
        self._removed: set[tuple[str, int]] = set()
        self.dropped: dict[tuple[str, int], Record] = {}
        self._depth = 0
        for record in self.store.load():
            self.pools[record.kind][record.id] = record

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Exclusive access; what changed inside is in the database when the outermost one ends."""
        with self.lock:
            self._depth += 1
            events: list[Event] = []
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    events = self._flush()
            for event in events:
                event()

    def _flush(self) -> list[Event]:
        events = []
        for record in list(self._changed.values()):
            events += [event for event in (listener(self, record) for listener in self.listeners) if event]
        if self._changed or self._removed:
            self.store.write(self._changed.values(), self._removed, self.counters)
        self._changed.clear()
        self._removed.clear()
        return events

    def save(self, record: Record) -> None:
        """Marks the record changed (oned's pool->update)."""
        self._changed[(record.kind, record.id)] = record

    def find(self, kind: str, object_id: int) -> Optional[Record]:
        return self.pools[kind].get(object_id)

    def get(self, kind: str, object_id: int) -> Record:
        """The record, or the NO_EXISTS refusal."""
        record = self.pools[kind].get(object_id)
        if record is None:
            raise errors.no_exists(KINDS[kind].long_name, object_id)
        return record

    def all(self, kind: str) -> list[Record]:
        return list(self.pools[kind].values())

    def by_name(self, kind: str, name: str, uid: Optional[int] = None) -> Optional[Record]:
        for record in self.pools[kind].values():
            if record.name == name and (uid is None or record.uid == uid):
                return record
        return None

    def check_name(self, kind: str, name: str, uid: int) -> Optional[str]:
        """oned's complaint about a new object's name, or None."""
        problem = names.problem(name)
        if problem or KINDS[kind].unique == "none":
            return problem
        other = self.by_name(kind, name, None if KINDS[kind].unique == "all" else uid)
        return names.taken(kind, other.id) if other else None

    def next_id(self, kind: str) -> int:
        number = self.counters.get(kind, KINDS[kind].first_id)
        self.counters[kind] = number + 1
        return number

    def add(self, record: Record) -> Record:
        self.pools[record.kind][record.id] = record
        self._removed.discard((record.kind, record.id))
        self.save(record)
        return record

    def drop(self, record: Record) -> None:
        self.pools[record.kind].pop(record.id, None)
        self._changed.pop((record.kind, record.id), None)
        self._removed.add((record.kind, record.id))
        self.dropped[(record.kind, record.id)] = record
        while len(self.dropped) > REMEMBERED:
            self.dropped.pop(next(iter(self.dropped)))

    def log_vm(self, vm_id: int, message: str, level: str = "I", module: str = "VM") -> None:
        """One line in STATE/log/<vmid>.log, as oned words it."""
        line = f"{time.ctime()} [Z0][{module}][{level}]: {message}\n"
        with open(self.settings.state / "log" / f"{vm_id}.log", "a") as log:
            log.write(line)

    def spawn(self, name: str, work: Callable[[], None]) -> None:
        """Runs `work` on a thread of its own; what it raises ends in the log."""
        threading.Thread(target=self._guarded, args=(name, work), name=name, daemon=True).start()

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            if not self.stopping.is_set():
                logging.exception("background work %s failed", name)

    def wait(self, what: str, host: str = "") -> None:
        """Lets the emulated time of `what` pass (less when the front-end stops)."""
        self.stopping.wait(self.settings.seconds(what, host) + self.faults.extra_seconds(what))


def set_owner(record: Record, owner: Record, gid: int, front: Front) -> None:
    group = front.find("group", gid)
    record.uid, record.uname = owner.id, owner.name
    record.gid, record.gname = gid, group.name if group else str(gid)
