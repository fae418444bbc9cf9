# SPDX-License-Identifier: Apache-2.0
"""What the owner of a VM is told about its BACKUP section."""

from __future__ import annotations

from typing import Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebackup_driver import policy, units, verdict
from onebackup_driver.site_rules import Configuration
from onebackup_driver.xml_values import Vector

AFTER_A_RUN = {"STATE": "OK", "MESSAGE": "restore point 7", "RESTORE_POINT": "7", "NEXT_BACKUP": "T1"}
AFTER_A_FAILURE = {"STATE": "ERROR", "MESSAGE": "the upload failed", "RUN": "r"}
BAD = {"STATE": "ERROR", "MESSAGE": "P1", "VERDICT": "ERROR"}


NOON = 1_795_435_200  # 2026-11-23 12:00:00 UTC


@pytest.mark.parametrize(
    "section, site, expected",
    [
        ({}, "", "with the next run"),
        ({"LAST_BACKUP_TIME": str(NOON - 600)}, "", NOON + 3000),
        ({"LAST_BACKUP_TIME": str(NOON - 600), "WINDOW": "22:00-06:00"}, "", NOON + 10 * 3600),
        ({"WINDOW": "11:00-13:00"}, "", "with the next run"),
        ({"WINDOW": "22:00-06:00"}, "05:00-07:00", NOON + 17 * 3600),
        ({"WINDOW": "08:00-10:00"}, "20:00-21:00", verdict.NEVER),
    ],
)
def test_the_next_time_in_words(section: Vector, site: str, expected: Union[str, int]) -> None:
    configuration = Configuration(window=site, time_zone="UTC")
    rules = policy.read(5, {"FREQUENCY_SECONDS": "3600", "MARKETPLACE_ID": "1", **section}, configuration)
    words = expected if isinstance(expected, str) else units.local_time(expected)
    assert verdict.next_backup(rules, configuration, NOON) == words


@pytest.mark.parametrize(
    "told, problem, next_time, expected",
    [
        (None, "", "T1", {"STATE": "OK", "MESSAGE": "next backup: T1", "NEXT_BACKUP": "T1"}),
        (None, "P1", "", BAD),
        (BAD, "P1", "", None),
        (BAD, "P2", "", {**BAD, "MESSAGE": "P2"}),
        (BAD, "", "T1", {"STATE": "OK", "MESSAGE": "next backup: T1", "NEXT_BACKUP": "T1"}),
        (AFTER_A_RUN, "", "T1", None),
        (AFTER_A_RUN, "", "T2", {**AFTER_A_RUN, "MESSAGE": "next backup: T2", "NEXT_BACKUP": "T2"}),
        (AFTER_A_RUN, "P1", "", {**BAD, "RESTORE_POINT": "7"}),
        (AFTER_A_FAILURE, "", "T1", {**AFTER_A_FAILURE, "NEXT_BACKUP": "T1"}),
        ({"STATE": "RUNNING", "RUN": "r"}, "P1", "", None),
        ({"STATE": "RUNNING", "RUN": "r"}, "", "T1", None),
    ],
)
def test_what_is_written(
    told: Optional[Vector], problem: str, next_time: str, expected: Optional[Vector]
) -> None:
    assert verdict.changed(told, problem, next_time) == expected


_TOLD = st.none() | st.dictionaries(
    st.sampled_from(["STATE", "MESSAGE", "NEXT_BACKUP", "VERDICT", "RUN"]),
    st.sampled_from(["OK", "ERROR", "RUNNING", "P1", "T1", "x"]),
)


@given(_TOLD, st.sampled_from(["", "P1"]), st.sampled_from(["T1", "T2"]))
def test_once_written_there_is_nothing_new_to_say(told: Optional[Vector], problem: str, next_time: str) -> None:
    """Else the hook that our own update fires would write again, and so for ever."""
    written = verdict.changed(told, problem, next_time)
    if written is not None:
        assert verdict.changed(written, problem, next_time) is None


@given(_TOLD)
def test_a_withdrawal_is_said_once(told: Optional[Vector]) -> None:
    written = verdict.withdrawn(told)
    if written is not None:
        assert verdict.withdrawn(written) is None


def test_a_vm_that_was_told_nothing_is_told_nothing() -> None:
    assert verdict.withdrawn(None) is None
    assert verdict.withdrawn({"STATE": "OK", "MESSAGE": "restore point 7"}) is None
