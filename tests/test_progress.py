# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

from onebackup_driver import failures, progress
from onebackup_driver.cli import watching
from onebackup_driver.progress import Progress
from onebackup_driver.retry import Failure


def logger() -> logging.Logger:
    made = logging.getLogger("onebackup.test-progress")
    made.setLevel(logging.INFO)
    made.propagate = False
    return made


def test_a_step_is_a_line_of_the_log(tmp_path: Path) -> None:
    log = logger()
    with progress.of_vm(tmp_path, log, 42, "web", 512):
        log.info("Powering off %s", "VM")
        (item,) = progress.running(tmp_path)
        assert (item.vm_id, item.vm_name, item.size_mb, item.step) == (42, "web", 512, "Powering off VM")
        assert item.pid == os.getpid() and item.began <= item.step_began
    assert progress.running(tmp_path) == [] and list(tmp_path.iterdir()) == [] and not log.handlers


def test_bytes_are_of_the_present_step_only(tmp_path: Path) -> None:
    log = logger()
    progress.advance(1, 2)  # nothing is running: nothing happens
    with progress.of_vm(tmp_path, log, 42, "web", 512):
        log.info("Verifying")
        progress._current._written = -1e9  # type: ignore[union-attr]
        progress.advance(10, 100)
        assert [(item.done_bytes, item.total_bytes) for item in progress.running(tmp_path)] == [(10, 100)]
        log.info("Next")
        assert [(item.done_bytes, item.total_bytes) for item in progress.running(tmp_path)] == [(0, 0)]


def test_a_dead_process_runs_no_backup(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        with progress.of_vm(tmp_path, logger(), 1, "a", 1):
            text = (tmp_path / "vm-1.json").read_text()
        own = f'"pid": {os.getpid()}'
        assert own in text
        (tmp_path / "vm-1.json").write_text(text.replace(own, f'"pid": {process.pid}'))
        assert progress.running(tmp_path) == [], "another process has the pid now"
        process.kill()
    (tmp_path / "vm-1.json").write_text(text.replace(own, f'"pid": {process.pid}'))
    (tmp_path / "vm-2.json").write_text("{")
    assert progress.running(tmp_path) == []


def test_a_directory_that_cannot_be_written_stops_no_backup(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = logger()
    with progress.of_vm(tmp_path / "file" / "progress", log, 1, "a", 1):
        log.info("goes on")


def test_rate_and_time_left() -> None:
    mib = 1024 * 1024
    item = Progress(1, "a", 1, 1, began=0, size_mb=300)
    assert watching.amount(item) == "300 MiB"
    item.step_began, item.done_bytes, item.total_bytes = watching.clock.now() - 10, 100 * mib, 300 * mib
    later = "100 MiB of 300 MiB, 9 MiB/s, 22.0 s left"
    assert watching.amount(item) in ("100 MiB of 300 MiB, 10 MiB/s, 20.0 s left", later)


def test_failures_are_remembered_and_a_damaged_file_means_none(tmp_path: Path) -> None:
    path = tmp_path / "state" / "failures.json"
    assert failures.load(path) == {}
    rows = {7: Failure(3, 1000, "no \"space\"\nleft", "abc")}
    failures.save(path, rows)
    assert failures.load(path) == rows
    for text in ("", "{", "[]", '{"format": 2}', '{"format": 1, "failures": {"x": {}}}'):
        path.write_text(text)
        assert failures.load(path) == {}
