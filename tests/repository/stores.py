# SPDX-License-Identifier: Apache-2.0
"""Stores that misbehave, over real ones."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

from onebackup_driver.repository import problems
from onebackup_driver.repository.extent import Buffer
from onebackup_driver.repository.stores import base


class Counted(base.Store):
    """Passes everything on; `act` is called before and after each operation with its number, kind and name."""

    def __init__(self, inner: base.Store, act: Callable[[int, str, str, str], None]):
        self.inner, self.place, self.parallel, self.count = inner, inner.place, inner.parallel, 0
        self._act, self._lock = act, threading.Lock()

    def _number(self, kind: str, name: str) -> Callable[[str], None]:
        with self._lock:
            self.count += 1
            number = self.count
        self._act(number, "before", kind, name)
        return lambda when: self._act(number, when, kind, name)

    def prepare(self, folders: tuple[str, ...]) -> None:
        self.inner.prepare(folders)

    def put(self, name: str, data: bytes) -> bool:
        done = self._number("put", name)
        result = self.inner.put(name, data)
        done("after")
        return result

    def create(self, name: str) -> base.Writer:
        done = self._number("create", name)
        result = self.inner.create(name)
        done("after")
        return _CountedWriter(self, result, name)

    def get(self, name: str, offset: int = 0, length: Optional[int] = None) -> bytes:
        self._number("get", name)
        return self.inner.get(name, offset, length)

    def size(self, name: str) -> int:
        self._number("size", name)
        return self.inner.size(name)

    def delete(self, name: str) -> None:
        done = self._number("delete", name)
        self.inner.delete(name)
        done("after")

    def list(self, prefix: str) -> Iterator[base.Entry]:
        self._number("list", prefix)
        return self.inner.list(prefix)

    def time(self) -> float:
        self._number("time", "")
        return self.inner.time()

    def free_mb(self) -> Optional[int]:
        return self.inner.free_mb()

    def local_copy(self, name: str, repository_id: bytes, fresh: bool = False) -> Path:
        self._number("copy", name)
        return self.inner.local_copy(name, repository_id, fresh)


class _CountedWriter(base.Writer):
    def __init__(self, store: Counted, inner: base.Writer, name: str):
        self._store, self._inner, self._name = store, inner, name

    def write(self, data: Buffer) -> None:
        done = self._store._number("write", self._name)
        self._inner.write(data)
        done("after")

    def publish(self) -> bool:
        done = self._store._number("publish", self._name)
        result = self._inner.publish()
        done("after")
        return result

    def abandon(self) -> None:
        self._inner.abandon()


def failing(inner: base.Store, at: int, when: str) -> Counted:
    """The operation number `at` fails, before or after it was carried out."""

    def act(number: int, now: str, kind: str, name: str) -> None:
        if number == at and now == when:
            raise problems.StoreFailed(f"{kind} {name}: no luck")

    return Counted(inner, act)


def killing(inner: base.Store, at: int, when: str) -> Counted:
    """The process is killed (SIGKILL) at that operation."""

    def act(number: int, now: str, kind: str, name: str) -> None:
        if number == at and now == when:
            os.kill(os.getpid(), signal.SIGKILL)

    return Counted(inner, act)
