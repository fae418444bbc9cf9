# SPDX-License-Identifier: Apache-2.0
"""Every fuzz target for a moment, and every input that once was too much (`make fuzz` runs them for long)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile import mutation
from tests.hostile.fuzz import REGRESSIONS
from tests.hostile.fuzz_targets import ROOT, TARGETS

RUNS, SECONDS = 300, 0.6
KEPT = sorted(path for path in REGRESSIONS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_any_bytes_are_read_or_are_our_own_error(name: str) -> None:
    target = TARGETS[name]
    runs, findings = mutation.loop(target, target.seeds, 20261123, SECONDS, RUNS)
    assert [f"{finding.error!r}: {finding.data[:300]!r}" for finding in findings] == []
    assert runs >= len(target.seeds)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name[:8]}")
def test_what_once_was_too_much(path: Path) -> None:
    mutation.timed(TARGETS[path.parent.name], path.read_bytes(), 20)


def test_the_loop_finds_what_there_is_to_find() -> None:
    def fragile(data: bytes) -> None:
        if b"\0" in data:
            raise KeyError("defect")

    assert mutation.loop(fragile, [b"abc"], 1, 10, 5000)[1]


def test_make_fuzz_runs_without_atheris(tmp_path: Path) -> None:
    options = ["--engine", "mutation", "--seconds", "0.2", "--group", "gateway"]
    argv = [sys.executable, "-m", "tests.hostile.fuzz", *options]
    done = subprocess.run(argv, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "range_header" in done.stdout
