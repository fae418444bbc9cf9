# SPDX-License-Identifier: Apache-2.0
"""The OpenNebula front-end on this machine: system-wide, below ONE_LOCATION, and either of them below DESTDIR.

Paths of a Place are as the running system will see them; `real` says where they lie now (DESTDIR put before).
"""

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from onebackup_driver import commands, errors

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.\d+)*")
#: The value where onehem-server.conf says nothing (src/hem/onehem-server.rb).
_HOOK_BASE = "/var/lib/one/remotes/hooks"
_HOOK_BASE_LINE = re.compile(r"^\s*:hook_base_path:\s*(['\"]?)(.+?)\1\s*(?:#.*)?$", re.MULTILINE)
#: The versions onebackup was made for: from the first up to, not including, the second.
OLDEST, TOO_NEW = (6, 0), (8, 0)


class NotThere(errors.Error):
    """There is no front-end here that onebackup can be installed on."""

    exit_code = 3


@dataclass(frozen=True)
class User:
    """The user OpenNebula runs as; `name` is the number when the system has no name for it."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Place:
    """Where a front-end lies. `location`: ONE_LOCATION or empty; `root`: DESTDIR or empty; `version` may be empty."""

    root: str
    location: str
    hook_base: Path
    user: User
    version: str

    def real(self, path: Path) -> Path:
        """Where a path of the front-end lies now."""
        return Path(self.root + str(path)) if self.root else path

    @property
    def etc(self) -> Path:
        return Path(self.location, "etc") if self.location else Path("/etc/one")

    @property
    def var(self) -> Path:
        return Path(self.location, "var") if self.location else Path("/var/lib/one")

    @property
    def share(self) -> Path:
        return Path(self.location, "share") if self.location else Path("/usr/share/one")

    @property
    def programs(self) -> Path:
        """Where `onebackup` goes."""
        return Path(self.location, "bin") if self.location else Path("/usr/local/bin")

    @property
    def wrappers(self) -> Path:
        """Where our `onevm` goes: before the stock one in PATH."""
        return self.home / "bin" if self.location else Path("/usr/local/bin")

    @property
    def remotes(self) -> Path:
        return self.var / "remotes"

    @property
    def home(self) -> Path:
        """The directory that is ours alone."""
        return (Path(self.location, "lib") if self.location else Path("/usr/lib/one")) / "onebackup"

    @property
    def environment(self) -> Path:
        return self.home / "venv"

    @property
    def hook_templates(self) -> Path:
        return self.share / "onebackup" / "hooks"

    @property
    def oned_conf(self) -> Path:
        return self.etc / "oned.conf"


def find(environment: Optional[Mapping[str, str]] = None) -> Place:
    """The front-end that ONE_LOCATION and DESTDIR point to. Raises NotThere, UsageError."""
    env = os.environ if environment is None else environment
    root, location = (_directory(env, name) for name in ("DESTDIR", "ONE_LOCATION"))
    bare = Place(root, location, Path(_HOOK_BASE), User("", 0, 0), "")
    oned_conf = bare.real(bare.oned_conf)
    if not oned_conf.is_file():
        hint = "" if location else "; ONE_LOCATION names a self-contained installation"
        raise NotThere(f"there is no OpenNebula front-end here: {oned_conf} does not exist{hint}")
    version = _version(bare)
    if version and number(version) < OLDEST:
        raise NotThere(f"this front-end is OpenNebula {version}; onebackup works with 6.0 and later")
    return Place(root, location, _hook_base(bare), _user(bare), version)


def environment(place: Optional[Place]) -> dict[str, str]:
    """This process's environment, ONE_LOCATION pointing to where it lies now."""
    found = dict(os.environ)
    if place is not None and place.location:
        found["ONE_LOCATION"] = str(place.real(Path(place.location)))
    return found


def number(version: str) -> tuple[int, int]:
    """`7.4.0` -> (7, 4); (0, 0) for what is not a version."""
    found = _VERSION.match(version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def may_use(user: User, path: Path) -> bool:
    """Do modes let a user come to a file? Not into root's home, for one, where root's own Python may lie."""
    for folder in path.parents:
        status = folder.stat()
        shift = 6 if status.st_uid == user.uid else 3 if status.st_gid == user.gid else 0
        if user.uid != 0 and not status.st_mode >> shift & 1:
            return False
    return True


def _directory(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").rstrip("/")
    if value and not value.startswith("/"):
        raise errors.UsageError(f"{name} is {value!r}; it must be an absolute path")
    return value


def _hook_base(place: Place) -> Path:
    """Hook scripts lie where onehem-server.conf says: by default below /var/lib/one, also with ONE_LOCATION."""
    try:
        text = place.real(place.etc / "onehem-server.conf").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return place.remotes / "hooks"
    found = _HOOK_BASE_LINE.findall(text)
    return Path(found[-1][1] if found else _HOOK_BASE)


def _user(place: Place) -> User:
    """Whoever owns the var directory: oned keeps its database and its session there."""
    path = place.real(place.var)
    try:
        owner = path.stat()
    except OSError as error:
        raise NotThere(f"there is no OpenNebula front-end here: {path}: {error.strerror}") from error
    try:
        name = pwd.getpwuid(owner.st_uid).pw_name
    except KeyError:
        name = str(owner.st_uid)
    return User(name, owner.st_uid, owner.st_gid)


def _version(place: Place) -> str:
    try:
        text = place.real(place.remotes / "VERSION").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not _VERSION.match(text) and not place.root:
        text = _version_of_command(Path(place.location, "bin") if place.location else Path("/usr/bin"))
    found = _VERSION.match(text)
    return found[0] if found else ""


def _version_of_command(folder: Path) -> str:
    program = folder / "onevm"
    if not program.is_file():
        return ""
    try:
        result = commands.run([str(program), "--version"], timeout_s=20)
    except errors.Failed:
        return ""
    found = _VERSION.search(result.output.decode("utf-8", "replace"))
    return found[0] if result.code == 0 and found else ""


def main() -> int:
    """For install.sh, before there is a virtual environment. Prints four lines: where that goes; whether we are
    installed (yes, no); whether we may install (yes, or the directory that cannot be written to); whether OpenNebula's
    user can use this Python (yes, or who that is)."""
    try:
        place = find()
    except errors.Error as error:
        print(f"install.sh: {error}", file=sys.stderr)
        return error.exit_code
    home = place.real(place.home)
    nearest = next(path for path in (home, *home.parents) if path.exists())
    print(place.real(place.environment))
    print("yes" if (home / "installed.json").exists() else "no")
    print("yes" if os.access(nearest, os.W_OK) else nearest)
    parts = (Path(sys.executable), Path(os.__file__))
    print("yes" if all(may_use(place.user, path.resolve()) for path in parts) else place.user.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
