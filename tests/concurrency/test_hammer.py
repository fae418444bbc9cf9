# SPDX-License-Identifier: Apache-2.0
"""Two short seeds of the hammer; `make hammer` does more."""

from __future__ import annotations

import pytest

from tests.concurrency import hammer


@pytest.mark.parametrize(("version", "seed"), [("6.4", 1), ("7.4", 2)])
def test_a_short_seed(version: str, seed: int) -> None:
    outcome = hammer.run(version, seed, operations=12)
    assert not outcome.wrong, outcome.report()
    assert (outcome.operations, outcome.rounds) == (12, 1)


def test_a_seed_that_fails_says_how_to_run_it_again_and_what_was_done() -> None:
    outcome = hammer.Outcome("7.4", 5, 20, 1, ["VM 3 is POWEROFF"], ["0.1 user: poweroff 3"])
    report = outcome.report()
    assert "VM 3 is POWEROFF" in report and "user: poweroff 3" in report
    assert "python -m tests.concurrency --version 7.4 --seed 5 --operations 20" in report
