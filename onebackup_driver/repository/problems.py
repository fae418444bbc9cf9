# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a repository, its store or a source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from onebackup_driver import errors


class RepositoryError(errors.Failed):
    """A repository could not do what was asked; nothing that was in it is lost."""


class StoreFailed(RepositoryError):
    """The store (a file system, an S3 server) refused or did not answer."""


class Missing(RepositoryError):
    """There is no object with this name."""

    def __init__(self, name: str):
        super().__init__(f"{name} is not in the repository")
        self.name = name


class Damaged(RepositoryError):
    """An object is not what was written: changed, cut off, exchanged for another one, forged, or gone though needed.

    `restore_point`: the name of the one that cannot be read therefore, where that is known."""

    def __init__(self, name: str, reason: str, restore_point: str = ""):
        before = f"restore point {restore_point} cannot be read: " if restore_point else ""
        super().__init__(f"{before}{name} is damaged: {reason}")
        self.name = name
        self.reason = reason


@contextmanager
def of_restore_point(name: str) -> Iterator[None]:
    """What is found to be damaged or missing inside is told as damage of this restore point."""
    try:
        yield
    except Damaged as error:
        if name in str(error):
            raise
        raise Damaged(error.name, error.reason, name) from error
    except Missing as error:
        if name in error.name:
            raise
        raise Damaged(error.name, "it is not in the repository", name) from error


class NotARepository(errors.Refused):
    """There is no repository at this place, or one of a version that is not known."""


class AlreadyThere(errors.Refused):
    """There is a repository at this place already."""


class WrongKey(errors.Refused):
    """The key is missing, not needed or not that of this repository."""


class SourceChanged(errors.Failed):
    """The image changed while it was read, or ended early: it does not become a restore point."""


class RunTooLong(RepositoryError):
    """A backup ran longer than the repository's longest run; gc may have taken what it refers to."""
