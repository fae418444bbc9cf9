# SPDX-License-Identifier: Apache-2.0
"""A spread sample of the fault matrix, and every case that ever failed. All of it: make faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import cases, matrix
from tests.faults.cases import Case, Outcome
from tests.faults.rig import Rig

SEED = 20240
#: By scenario and version: enough for every kind of fault to have its turn in some scenario.
SAMPLE = {"backup": 10, "restore": 5, "removal": 3, "prune": 3, "work": 4, "hook": 3, "backup-suspend": 3,
          "backup-live": 3, "backup-onebackup": 2, "recover-saving": 3, "recover-deleting": 2}  # fmt: skip


@pytest.fixture(scope="module")
def rigs() -> Iterator[dict[str, Rig]]:
    running: dict[str, Rig] = {}
    yield running
    for rig in running.values():
        rig.close()


def rig_of(rigs: dict[str, Rig], version: str) -> Rig:
    if version not in rigs:
        rigs[version] = Rig(version)
    return rigs[version]


def try_all(rig: Rig, chosen: list[Case]) -> list[Outcome]:
    outcomes = [cases.run(rig, case) for case in chosen]
    return [outcome for outcome in outcomes if outcome.wrong]


@pytest.mark.parametrize("version", ["6.4", "7.4"])
@pytest.mark.parametrize("scenario", SAMPLE)
def test_a_sample_of_the_matrix(rigs: dict[str, Rig], version: str, scenario: str) -> None:
    rig = rig_of(rigs, version)
    everything = list(matrix.cases(rig, [scenario]))
    assert len(everything) > 60, "a clean run has more steps, and there are more faults, than that"
    assert try_all(rig, matrix.sample(everything, SAMPLE[scenario], SEED + len(version + scenario))) == []


@pytest.mark.parametrize("case", matrix.regressions(), ids=str)
def test_what_failed_once(rigs: dict[str, Rig], case: Case) -> None:
    rig = rig_of(rigs, case.version)
    assert try_all(rig, [case]) == []


def test_what_was_being_deleted_is_told_when_the_new_restore_point_is_gone(rigs: dict[str, Rig]) -> None:
    outcome = cases.run(rig_of(rigs, "7.4"), Case.parse("7.4 recover-deleting one.vm.update.1 new-apps-deleted"))
    assert outcome.wrong == [] and not outcome.skipped
    assert "what it replaces was being deleted before that: app " in outcome.said
