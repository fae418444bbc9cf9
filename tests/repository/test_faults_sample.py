# SPDX-License-Identifier: Apache-2.0
"""A sample of the repository's faults; all of them: `make repository-faults` (see CONTRIBUTING.md).

FAULTS_SEED chooses another sample.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .faults import cases, groups, rig

SEED = int(os.environ.get("FAULTS_SEED", "1"))
#: How many of each group. To find out which there are costs a clean run of each operation, so only some are asked for.
SAMPLE = {
    ("killed", "directory", "save"): 8,
    ("killed", "directory", "gc"): 8,
    ("killed", "s3", "save"): 5,
    ("requests", "s3", "save"): 8,
    ("requests", "s3", "gc"): 6,
    ("requests", "s3", "restore"): 6,
    ("requests", "s3", "save-large"): 3,
    ("disk", "directory", "*"): 14,
    ("damage", "directory", "*"): 24,
    ("damage", "s3 encrypted", "*"): 4,
    ("meanwhile", "directory", "save"): 10,
    ("crowd", "directory", "everything"): 2,
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Rig]:
    with rig.running(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.mark.parametrize("group, where, operation", SAMPLE)
def test_a_sample_of(shared: rig.Rig, group: str, where: str, operation: str) -> None:
    def wanted(place: str, name: str) -> bool:
        return place == where and operation in (name, "*")

    found = groups.GROUPS[group].cases(shared, wanted)
    chosen = cases.sample(found, SAMPLE[group, where, operation], SEED)
    outcomes = [groups.run(case, shared) for case in chosen]
    assert not [f"{item.case} ({item.step}): {item.wrong}" for item in outcomes if item.wrong]
    if all(item.skipped for item in outcomes):
        pytest.skip(outcomes[0].skipped)


def test_what_once_failed(shared: rig.Rig) -> None:
    lines = (Path(__file__).parent / "faults" / "regressions.txt").read_text().splitlines()
    outcomes = [groups.run(cases.parse(line), shared) for line in lines if line and not line.startswith("#")]
    assert outcomes and not [f"{item.case} ({item.step}): {item.wrong}" for item in outcomes if item.wrong]
