# SPDX-License-Identifier: Apache-2.0
"""What every store can do; the contract is tested once for all in tests/repository/test_stores.py.

Names are relative paths of lower-case letters, digits and -_./ . Every object is written once and never changed.
All methods may be called by several threads and processes at once. What a store cannot do raises StoreFailed.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Callable, NamedTuple, Optional, TypeVar

from onebackup_driver.repository import problems
from onebackup_driver.repository.extent import Buffer

_Content = TypeVar("_Content")
_LISTINGS = 5
_NAME = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9_.-]*(/[a-zA-Z0-9_-][a-zA-Z0-9_.-]*)*")


class Entry(NamedTuple):
    """An object in a listing; `modified` by the clock of the store, seconds since the epoch."""

    name: str
    size_bytes: int
    modified: float


class Writer(ABC):
    """An object that is being written piece by piece; nobody sees it before publish."""

    @abstractmethod
    def write(self, data: Buffer) -> None:
        """Add bytes; they may change as soon as this returns."""

    @abstractmethod
    def publish(self) -> bool:
        """Make the object visible, whole and durable. False when there is one with this name."""

    @abstractmethod
    def abandon(self) -> None:
        """Forget what was written; nothing after publish."""


class Store(ABC):
    """The objects of one repository."""

    #: How it is named to people.
    place: str
    #: How many requests at once make it fast.
    parallel: int = 2
    #: What it may hold, in MiB, where that is agreed and not measured.
    quota_mb: Optional[int] = None

    def prepare(self, folders: tuple[str, ...]) -> None:
        """Make the place ready for a new repository with these top folders ("packs/", …)."""
        return

    @abstractmethod
    def put(self, name: str, data: bytes) -> bool:
        """Write an object, wholly or not at all, durably. False, and nothing changed, when it exists."""

    @abstractmethod
    def create(self, name: str) -> Writer:
        """Begin a large object."""

    @abstractmethod
    def get(self, name: str, offset: int = 0, length: Optional[int] = None) -> bytes:
        """Bytes of an object, fewer than asked for only when it ends there. Raises Missing."""

    def read_into(self, name: str, offset: int, view: memoryview) -> int:
        """Like get, into a buffer; how many bytes came."""
        data = self.get(name, offset, len(view))
        view[: len(data)] = data
        return len(data)

    @abstractmethod
    def size(self, name: str) -> int:
        """The length of an object in bytes. Raises Missing."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[Entry]:
        """All objects whose names begin with `prefix` (a folder: "packs/"). Raises unless the listing is complete."""

    @abstractmethod
    def time(self) -> float:
        """What time it is for the store, as in Entry.modified; leaves nothing behind."""

    @abstractmethod
    def free_mb(self) -> Optional[int]:
        """Free space in MiB; None when the store does not know an end."""

    @abstractmethod
    def local_copy(self, name: str, repository_id: bytes, fresh: bool = False) -> Path:
        """A file on this machine with the object's content, which stays until the store is closed. Raises Missing.

        `fresh`: as it is in the store now, whatever an earlier copy says."""

    def keep_copies(self, names: Collection[str], repository_id: bytes) -> None:
        """Remove local copies of other objects than these; nothing where objects are local files anyway."""
        return

    def remove_stale(self, before: float) -> int:
        """Remove what killed writers left behind before that time of the store's clock; how many."""
        return 0

    def close(self) -> None:
        """Let go of connections and temporary files."""
        return


def check_name(name: str) -> None:
    """Refuse a name that could leave the repository."""
    if not _NAME.fullmatch(name):
        raise problems.StoreFailed(f"not the name of an object: {name!r}")


def steadily(read: Callable[[], _Content]) -> _Content:
    """Read and check; once more when it came damaged: what was garbled on its way is whole the next time."""
    try:
        return read()
    except problems.Damaged:
        return read()


def every(store: Store, prefix: str, read: Callable[[str], _Content]) -> Iterator[tuple[Entry, _Content]]:
    """What `read` makes of each object in a folder. One that is not found was replaced by a new one, or deleted: it is
    looked for in a new listing. Raises StoreFailed when it is listed still."""
    seen, missing = set[str](), ""
    for _ in range(_LISTINGS):
        missing = ""
        for entry in [found for found in store.list(prefix) if found.name not in seen]:
            try:
                content = read(entry.name)
            except problems.Missing:
                missing = entry.name
                continue
            seen.add(entry.name)
            yield entry, content
        if not missing:
            return
    raise problems.StoreFailed(f"{store.place}: {missing} is listed, but not found")


def exactly(store: Store, name: str, offset: int, length: int) -> bytes:
    """The bytes asked for, all of them. Raises Damaged for an object that ends before."""
    data = store.get(name, offset, length)
    if len(data) != length:
        raise problems.Damaged(name, "it is cut off")
    return data
