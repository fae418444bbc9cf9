# SPDX-License-Identifier: Apache-2.0
"""Which restore point a restore takes, and what is said when there is none."""

from __future__ import annotations

import pytest

from onebackup_driver import choosing, errors, units
from onebackup_driver.catalogue import RestorePoint
from tests import objects
from tests.objects import TIME, altered, points


def point(number: int, moment: int) -> RestorePoint:
    return points(objects.restore_point_apps(run=f"{number:032x}", moment=moment, first_id=number * 100))[0]


def damaged(number: int, moment: int) -> RestorePoint:
    first, *others = objects.restore_point_apps(run=f"{number:032x}", moment=moment, first_id=number * 100)
    return points([altered(first, STATE="3"), *others])[0]


OLD, NEW = point(1, TIME - 86400), point(2, TIME)


def test_the_newest_by_default() -> None:
    assert choosing.choose([OLD, NEW], 4) == NEW


def test_the_newest_that_can_be_restored() -> None:
    assert choosing.choose([OLD, NEW, damaged(3, TIME + 5)], 4) == NEW


@pytest.mark.parametrize(
    "wanted", ["102", str(TIME - 86400), units.local_time(TIME - 86400), units.local_time(TIME - 86400)[:10]]
)
def test_one_by_id_or_time(wanted: str) -> None:
    assert choosing.choose([OLD, NEW], 4, wanted) == OLD
    assert choosing.choose([OLD, NEW], 4, wanted.replace(" ", "T")) == OLD


@pytest.mark.parametrize(
    "wanted, words",
    [
        ("999", "no restore point of VM 4 is called '999'; there are: 102 \\("),
        ("1999-", "no restore point of VM 4 is called"),
        (units.local_time(TIME)[:4] + "-", "more than one restore point of VM 4 is called"),
        ("newest\n", "is called 'newest\\\\n'"),
    ],
)
def test_a_wrong_name_lists_what_there_is(wanted: str, words: str) -> None:
    with pytest.raises(errors.Refused, match=words) as caught:
        choosing.choose([OLD, NEW], 4, wanted)
    assert f"202 ({units.local_time(TIME)})" in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_no_restore_point() -> None:
    with pytest.raises(errors.Refused, match="there is no restore point of VM 5"):
        choosing.choose([OLD, NEW], 5)


def test_only_damaged_ones() -> None:
    told = "none of the 2 restore point.* the newest, 202: app 200 of disk 0 is ERROR; see: onebackup list 4"
    with pytest.raises(errors.Refused, match=told):
        choosing.choose([damaged(1, TIME), damaged(2, TIME + 1)], 4)


def test_a_damaged_one_that_is_asked_for_is_refused() -> None:
    with pytest.raises(errors.Refused, match="restore point 302 cannot be restored: app 300 of disk 0 is ERROR"):
        choosing.choose([NEW, damaged(3, TIME + 5)], 4, "302")
