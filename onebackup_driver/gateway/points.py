# SPDX-License-Identifier: Apache-2.0
"""What the gateway has open: repositories, and the files of the restore points asked for last. For all threads."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import NamedTuple, Optional

from onebackup_driver import errors, paths, repositories
from onebackup_driver.gateway.content import Content, Disk, Readers
from onebackup_driver.gateway.learning import Learner
from onebackup_driver.repositories import Settings
from onebackup_driver.repository import problems
from onebackup_driver.repository.format import header
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.repository import Repository

_log = logging.getLogger(__name__)
#: The layout of a fragmented disk takes some MiB.
_CONTENTS = 8
_REPOSITORIES = 8


class Unknown(errors.Refused):
    """Nothing is served under this path."""


class _Opened(NamedTuple):
    settings: Settings
    repository: Repository


class Points:
    """Finds the file of a restore point."""

    def __init__(self, where: paths.Paths, learner: Learner):
        self._where, self._learner = where, learner
        self._lock, self._readers = threading.Lock(), Readers()
        self._opened: OrderedDict[str, _Opened] = OrderedDict()
        self._contents: OrderedDict[tuple[str, str, str], Content] = OrderedDict()

    def content(self, repository_id: str, name: str, kind: str) -> Content:
        """The file. Raises Unknown, Missing when the restore point was deleted, Damaged, StoreFailed."""
        repository, made = self._loaded(repository_id, name)
        key = (repository_id, name, kind)
        with self._lock:
            if key in self._contents:
                self._contents.move_to_end(key)
                return self._contents[key]
        content = Content(Disk(self._readers, repository, name, repository.cells(name), made.size_bytes), kind)
        with self._lock:
            self._contents[key] = content
            while len(self._contents) > _CONTENTS:
                self._contents.popitem(last=False)
        return content

    def _loaded(self, repository_id: str, name: str) -> tuple[Repository, Manifest]:
        repository = self._repository(repository_id)
        try:
            return repository, repository.load(name)
        except problems.Missing:
            if _is_there(repository):
                raise
        with self._lock:  # it is not mounted, or somewhere else now
            self._opened.pop(repository_id, None)
        repository = self._repository(repository_id)
        return repository, repository.load(name)

    def _repository(self, repository_id: str) -> Repository:
        """A repository that is not known, or not as it was, is looked for at the front-end."""
        settings = repositories.known(self._where, repository_id)
        try:
            return self._open(repository_id, settings)
        except errors.Error as error:
            _log.info("repository %s: %s", repository_id, error)
            again = self._looked_again(repository_id, settings)
            if again is None:
                raise
        return self._open(repository_id, again)

    def _looked_again(self, repository_id: str, before: Optional[Settings]) -> Optional[Settings]:
        """What is known now, when that is something else than before. Raises Error when nothing is known and nobody can
        be asked."""
        try:
            self._learner.look()
        except errors.Error:
            if before is None:
                raise
        now = repositories.known(self._where, repository_id)
        return None if now == before else now

    def _open(self, repository_id: str, settings: Optional[Settings]) -> Repository:
        if settings is None:
            raise Unknown("no such repository")
        with self._lock:
            opened = self._opened.get(repository_id)
            if opened is not None and opened.settings == settings:
                self._opened.move_to_end(repository_id)
                return opened.repository
        made = repositories.open(settings, self._where)
        if repositories.identity(made) != repository_id:
            raise Unknown("another repository is there now")
        with self._lock:
            self._opened[repository_id] = _Opened(settings, made)
            self._contents.clear()
            while len(self._opened) > _REPOSITORIES:
                self._opened.popitem(last=False)
            return self._opened[repository_id].repository


def _is_there(opened: Repository) -> bool:
    try:
        return opened.store.size(header.NAME) > 0
    except problems.Missing:
        return False
