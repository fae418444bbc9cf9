# SPDX-License-Identifier: Apache-2.0
"""A store whose every operation, reading ones as well, is a step before and after which something can happen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Optional

from onebackup_driver.repository.extent import Buffer
from onebackup_driver.repository.stores import base

Act = Callable[[int, str, str], None]


class Stepped(base.Store):
    """`act(number, "before" or "after", "put packs/")` is called around each operation."""

    def __init__(self, inner: base.Store, act: Act):
        self.inner, self.place, self.parallel = inner, inner.place, inner.parallel
        self.quota_mb, self.count = inner.quota_mb, 0
        self._act, self._lock = act, threading.Lock()

    def step(self, kind: str, name: str, do: Callable[[], Any]) -> Any:
        with self._lock:
            self.count += 1
            number = self.count
        folder, slash, _ = name.partition("/")
        label = f"{kind} {folder}{slash}"
        self._act(number, "before", label)
        result = do()
        self._act(number, "after", label)
        return result

    def prepare(self, folders: tuple[str, ...]) -> None:
        self.step("prepare", "", lambda: self.inner.prepare(folders))

    def put(self, name: str, data: bytes) -> bool:
        return bool(self.step("put", name, lambda: self.inner.put(name, data)))

    def create(self, name: str) -> base.Writer:
        return _Writer(self, self.step("create", name, lambda: self.inner.create(name)), name)

    def get(self, name: str, offset: int = 0, length: Optional[int] = None) -> bytes:
        return bytes(self.step("get", name, lambda: self.inner.get(name, offset, length)))

    def size(self, name: str) -> int:
        return int(self.step("size", name, lambda: self.inner.size(name)))

    def delete(self, name: str) -> None:
        self.step("delete", name, lambda: self.inner.delete(name))

    def list(self, prefix: str) -> Iterator[base.Entry]:
        return iter(self.step("list", prefix, lambda: [*self.inner.list(prefix)]))

    def time(self) -> float:
        return float(self.step("time", "", self.inner.time))

    def free_mb(self) -> Optional[int]:
        return self.inner.free_mb()

    def local_copy(self, name: str, repository_id: bytes, *more: Any, **named: Any) -> Path:
        made = self.step("copy", name, lambda: self.inner.local_copy(name, repository_id, *more, **named))
        assert isinstance(made, Path)
        return made

    def keep_copies(self, names: Collection[str], repository_id: bytes) -> None:
        self.step("keep copies", "", lambda: self.inner.keep_copies(names, repository_id))

    def remove_stale(self, *arguments: Any, **named: Any) -> int:
        return int(self.step("remove stale", "", lambda: self.inner.remove_stale(*arguments, **named)))

    def close(self) -> None:
        self.inner.close()


class _Writer(base.Writer):
    def __init__(self, store: Stepped, inner: base.Writer, name: str):
        self._store, self._inner, self._name = store, inner, name

    def write(self, data: Buffer) -> None:
        self._store.step("write", self._name, lambda: self._inner.write(data))

    def publish(self) -> bool:
        return bool(self._store.step("publish", self._name, self._inner.publish))

    def abandon(self) -> None:
        self._inner.abandon()
