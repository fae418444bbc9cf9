# SPDX-License-Identifier: Apache-2.0
"""Temporary folders: nobody's is taken away while it is used, and none stays for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onebackup_driver import scratch

PROJECT = Path(__file__).resolve().parent.parent
HOLD = """
import sys
from pathlib import Path
from onebackup_driver import scratch
made = scratch.Folder("ours-", Path(sys.argv[1]))
(made.path / "image").write_bytes(bytes(1000))
print(made.path, flush=True)
sys.stdin.read()
"""


def holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


def test_it_is_there_and_then_gone(tmp_path: Path) -> None:
    with scratch.Folder("ours-", tmp_path) as path:
        assert path.parent == tmp_path and path.stat().st_mode & 0o777 == 0o700
        (path / "deep").mkdir()
        (path / "deep" / "file").write_bytes(b"content")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    living, its = holder(tmp_path)
    dead, left = holder(tmp_path)
    try:
        dead.kill()
        dead.wait()
        assert (left / "image").exists()
        with scratch.Folder("ours-", tmp_path) as mine:
            assert sorted(tmp_path.iterdir()) == sorted([its, mine])
            assert (its / "image").exists()
    finally:
        living.kill()
        living.wait()


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "theirs-1").mkdir()
    (tmp_path / "ours-file").write_bytes(b"content")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".owner").touch()
    (tmp_path / "ours-link").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    scratch.Folder("ours-", tmp_path).close()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_folders_of_other_users_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ours-1").mkdir()
    (tmp_path / "ours-1" / ".owner").touch()
    os.chown(tmp_path / "ours-1", 12345, 12345)
    scratch.Folder("ours-", tmp_path).close()
    assert (tmp_path / "ours-1").is_dir()


def test_one_without_a_lock_goes_when_it_is_old(tmp_path: Path) -> None:
    """As older releases made them, or killed between two steps."""
    for name, age_s in (("ours-old", 25 * 3600), ("ours-young", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, time.time() - age_s))
    scratch.Folder("ours-", tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == ["ours-young"]


def test_many_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    def use(number: int) -> None:
        with scratch.Folder("ours-", tmp_path) as path:
            (path / "file").write_text(str(number))
            time.sleep(0.002)
            assert (path / "file").read_text() == str(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(200)))
    assert list(tmp_path.iterdir()) == []
