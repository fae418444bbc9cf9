# SPDX-License-Identifier: Apache-2.0
"""What root does in oneadmin's directories is oneadmin's."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_SHOW = """
import os, sys
from pathlib import Path
from onebackup_driver import files, privileges
privileges.drop_to_owner_of(Path(sys.argv[1]) / "var" / "onebackup")
files.make_private_directory(Path(sys.argv[1]) / "var" / "onebackup")
print(os.geteuid(), os.getegid(), os.environ["HOME"])
"""

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def _run(directory: Path) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", _SHOW, str(directory)]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()


@root_only
def test_root_becomes_the_owner_of_what_is_there() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="onebackup-", dir="/var/tmp") as name:  # pytest's own are closed to nobody
        os.chown(name, nobody.pw_uid, nobody.pw_gid)

        assert _run(Path(name)) == [str(nobody.pw_uid), str(nobody.pw_gid), nobody.pw_dir]
        assert (Path(name) / "var" / "onebackup").stat().st_uid == nobody.pw_uid


def test_who_owns_the_directory_stays_who_they_are(tmp_path: Path) -> None:
    assert _run(tmp_path)[:2] == [str(os.geteuid()), str(os.getegid())]
