# SPDX-License-Identifier: Apache-2.0
"""Root works as OpenNebula's user: what root made in the state directory, oneadmin's next run could not read."""

from __future__ import annotations

import os
import pwd
from pathlib import Path


def drop_to_owner_of(path: Path) -> None:
    """When this process is root's and the directory (or the nearest above it that exists) is another user's: become
    that user, for good. Files that are open already stay usable."""
    if os.geteuid() != 0:
        return
    status = os.stat(_nearest_existing(path))
    if status.st_uid != 0:
        become(status.st_uid, status.st_gid)


def become(uid: int, gid: int) -> None:
    """Change this process to a user and the user's groups, with HOME; root only."""
    try:
        user = pwd.getpwuid(uid)
        os.initgroups(user.pw_name, user.pw_gid)
        gid = user.pw_gid
        os.environ["HOME"] = user.pw_dir
    except KeyError:
        os.setgroups([])  # a user without an entry has no groups and no home
    os.setgid(gid)
    os.setuid(uid)


def own_name() -> str:
    """The name of the user this process works as; its number when it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _nearest_existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
