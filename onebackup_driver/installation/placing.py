# SPDX-License-Identifier: Apache-2.0
"""Files put in place and taken away again: each replaced atomically, each told by its hash to be ours or not."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from onebackup_driver import files
from onebackup_driver.installation import receipt as receipts
from onebackup_driver.installation.locating import Place
from onebackup_driver.installation.receipt import Receipt, digest

#: PROGRAM: always as we deliver it; what was there before goes aside and comes back · CONFIGURATION: an edited one is
#: never touched, the new default goes beside it; it stays for ever · SCHEDULE: as CONFIGURATION, but goes with us ·
#: WRAPPER: put only where there is nothing, or ours.
PROGRAM, CONFIGURATION, SCHEDULE, WRAPPER = "program", "configuration", "schedule", "wrapper"
INSTALLED, UPDATED, UNCHANGED, REMOVED, LEFT, KEPT = "installed", "updated", "unchanged", "removed", "left", "kept"
_ASIDE, _NEW, _SAVED = ".stock", ".new", ".saved"


@dataclass(frozen=True)
class Item:
    """A file to be: its place on the running system, content, mode, owner and group (None: whoever installs)."""

    path: Path
    content: bytes
    mode: int
    owner: Optional[int] = None
    group: Optional[int] = None
    kind: str = PROGRAM


@dataclass(frozen=True)
class Change:
    """What was done, or in a dry run would be done, with a path."""

    what: str
    path: Path
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.path}" + (f" ({self.detail})" if self.detail else "")


class Placer:
    """Puts items into a front-end and notes in the receipt what it did; with `dry_run` it does neither."""

    def __init__(self, place: Place, receipt: Receipt, dry_run: bool):
        self._place, self._receipt, self.dry_run = place, receipt, dry_run

    def put(self, item: Item) -> Change:
        """Put one file in place. Raises OSError."""
        real = self._place.real(item.path)
        present = _read(real)
        if item.kind in (CONFIGURATION, SCHEDULE):
            return self._put_configuration(item, present)
        if item.kind == WRAPPER and present is not None and not self._ours(item.path, present):
            return Change(LEFT, item.path, "it is not ours; ours was not installed")
        detail = ""
        if present is not None and present != item.content and not self._ours(item.path, present):
            detail = f"the one before is {self._put_aside(item.path)}"
        return self._write(item, present, detail)

    def remove(self, path: Path) -> Change:
        """Take away a file that we put there and that is still ours; what had been there before comes back."""
        real, name = self._place.real(path), str(path)
        present = _read(real)
        if present is not None and not self._ours(path, present):
            self._receipt.files.pop(name)
            aside = self._receipt.aside.pop(name, "")
            before = f"; the one before ours is {aside}" if aside else ""
            return Change(LEFT, path, f"it is not as we installed it{before}")
        if not self.dry_run:
            real.unlink(missing_ok=True)
            self._receipt.files.pop(name)
        if name not in self._receipt.aside:
            return Change(REMOVED, path)
        if not self.dry_run:
            os.replace(self._place.real(Path(self._receipt.aside.pop(name))), real)
        return Change(REMOVED, path, "the one before is back")

    def remove_schedule(self, path: Path) -> Change:
        """A schedule goes even when it was edited: it would start what is gone. The edited one is kept aside."""
        real, name = self._place.real(path), str(path)
        present = _read(real)
        if present is None or digest(present) == self._receipt.files[name]:
            return self.remove(path)
        if not self.dry_run:
            os.replace(real, f"{real}{_SAVED}")
            self._receipt.files.pop(name)
        return Change(REMOVED, path, f"it was edited: kept as {path}{_SAVED}")

    def make_directory(self, path: Path, mode: int, owner: Optional[int] = None, group: Optional[int] = None) -> None:
        """Make a directory and those above it; only a directory that is new gets the mode and the owner."""
        real = self._place.real(path)
        if self.dry_run or real.is_dir():
            return
        self.make_directory(path.parent, 0o755, owner, group)
        real.mkdir()
        self._receipt.directories.append(str(path))
        real.chmod(mode)
        if owner is not None and group is not None and os.geteuid() == 0:
            os.chown(real, owner, group, follow_symlinks=False)

    def bring_back(self) -> list[Change]:
        """What an installation that died had put aside and replaced by nothing yet comes back too."""
        changes = []
        for name, aside in list(self._receipt.aside.items()):
            if not self.dry_run and not self._place.real(Path(name)).exists():
                os.replace(self._place.real(Path(aside)), self._place.real(Path(name)))
                self._receipt.aside.pop(name)
            changes.append(Change(REMOVED, Path(name), "the one before is back"))
        return changes

    def save(self) -> None:
        """Make what the receipt says durable."""
        if not self.dry_run:
            receipts.save(self._place.real(self._place.home), self._receipt)

    def remove_directories(self) -> None:
        """Take away those directories of ours that nothing lies in."""
        for name in reversed(list(self._receipt.directories)):
            try:
                self._place.real(Path(name)).rmdir()
            except OSError:
                continue
            self._receipt.directories.remove(name)

    def _put_configuration(self, item: Item, present: Optional[bytes]) -> Change:
        name, beside = str(item.path), Path(f"{item.path}{_NEW}")
        delivered, wanted = self._receipt.files.get(name), digest(item.content)
        if present is None or present == item.content or digest(present) == delivered:
            change = self._write(item, present, "")
            self._forget(beside)
            return change
        self._receipt.files[name] = wanted
        if delivered == wanted:
            return Change(UNCHANGED, item.path, "edited, left as it is")
        new = Item(beside, item.content, item.mode, item.owner, item.group)
        self._write(new, _read(self._place.real(beside)), "")
        return Change(KEPT, item.path, f"it was edited; the new default is {beside}")

    def _forget(self, path: Path) -> None:
        if str(path) in self._receipt.files and not self.dry_run:
            self.remove(path)

    def _write(self, item: Item, present: Optional[bytes], detail: str) -> Change:
        real = self._place.real(item.path)
        same = present == item.content and _is_as(real, item)
        self._receipt.files[str(item.path)] = digest(item.content)
        if not same and not self.dry_run:
            self.make_directory(item.path.parent, 0o755, *self._parent_owner(item))
            self.save()
            _replace(real, item)
        what = UNCHANGED if same else INSTALLED if present is None or detail else UPDATED
        return Change(what, item.path, detail)

    def _parent_owner(self, item: Item) -> tuple[Optional[int], Optional[int]]:
        return (item.owner, item.group) if item.owner is not None and item.owner != 0 else (None, None)

    def _ours(self, path: Path, present: bytes) -> bool:
        return b"onebackup_driver" in present or self._receipt.files.get(str(path)) == digest(present)

    def _put_aside(self, path: Path) -> Path:
        aside = Path(f"{path}{_ASIDE}")
        if not self.dry_run:
            self._receipt.aside[str(path)] = str(aside)
            self.save()
            os.replace(self._place.real(path), self._place.real(aside))
        return aside


def _read(path: Path) -> Optional[bytes]:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _is_as(path: Path, item: Item) -> bool:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != item.mode:
        return False
    return os.geteuid() != 0 or (item.owner in (None, status.st_uid) and item.group in (None, status.st_gid))


def _replace(path: Path, item: Item) -> None:
    """A new file under the name: whatever link or hard link was there, nothing is written through it."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(item.content)
            stream.flush()
            os.fchmod(stream.fileno(), item.mode)
            if os.geteuid() == 0 and item.owner is not None and item.group is not None:
                os.fchown(stream.fileno(), item.owner, item.group)
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    files.sync_directory(path.parent)
