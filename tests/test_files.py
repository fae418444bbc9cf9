# SPDX-License-Identifier: Apache-2.0
"""Files that are wholly there or not at all, also when their writer is killed."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onebackup_driver import files

#: Writes one letter after the other over the same file, as fast as it can.
WRITER = """
import itertools, sys
from pathlib import Path
from onebackup_driver import files
path = Path(sys.argv[1])
for letter in itertools.cycle(b"abcdefgh"):
    files.write(path, bytes([letter]) * 300_000)
"""


def test_a_file_is_written_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state"
    files.write(path, b"one")
    files.write(path, b"two")
    assert path.read_bytes() == b"two" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_an_old_or_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "state"
    files.write(path, b"0" * 300_000)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as writer:
        for _ in range(200):
            content = path.read_bytes()
            assert content == content[:1] * 300_000
        deadline = time.monotonic() + 10
        while path.read_bytes()[:1] == b"0" and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.05))
        writer.send_signal(signal.SIGKILL)
    content = path.read_bytes()
    assert content[:1] in b"abcdefgh" and content == content[:1] * 300_000


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    files.write(path, b"old")
    with pytest.raises(TypeError):
        files.write(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_directory_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with pytest.raises(OSError):
        files.write(tmp_path / "state", b"x")
    assert [item.name for item in tmp_path.iterdir()] == ["state"]


def test_directories_are_private(tmp_path: Path) -> None:
    path = tmp_path / "var" / "onebackup"
    files.make_private_directory(path)
    files.make_private_directory(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    os.chmod(path, 0o750)
    files.make_private_directory(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750, "an admin's own choice stays"


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    old, new, wanted = tmp_path / ".run.json.ab12", tmp_path / ".run.json.cd34", tmp_path / "run.json"
    for path in (old, new, wanted):
        path.write_text("{}")
    for path in (old, wanted):
        os.utime(path, (1, 1))

    files.remove_stale(tmp_path, 3600)

    assert sorted(tmp_path.iterdir()) == sorted([new, wanted])
