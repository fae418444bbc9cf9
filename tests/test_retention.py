# SPDX-License-Identifier: Apache-2.0
"""What goes when a new restore point is good; in any doubt nothing does."""

from __future__ import annotations

from onebackup_driver import retention
from onebackup_driver.catalogue import RestorePoint
from tests import objects
from tests.objects import TIME, altered, points


def point(number: int, moment: int = TIME, vm_changes: dict[str, str] | None = None, **tags: str) -> RestorePoint:
    """A restore point whose id ends in 02 (100 * number + 2)."""
    made = objects.restore_point_apps(
        run=f"{number:032x}", moment=moment, first_id=number * 100, vm_changes=vm_changes, **tags
    )
    return points(made)[0]


def ids(found: list[RestorePoint]) -> list[int]:
    return [item.backup_id for item in found]


def test_everything_older_of_the_vm_goes_oldest_first() -> None:
    oldest, old, new = point(1, TIME - 20), point(2, TIME - 10), point(3)
    assert ids(retention.superseded([oldest, old, new], new)) == [102, 202]


def test_nothing_goes_when_there_is_nothing_older() -> None:
    new = point(3)
    assert retention.superseded([new], new) == []


def test_newer_ones_stay() -> None:
    old, new, newer = point(1, TIME - 10), point(2), point(3, TIME + 1)
    assert ids(retention.superseded([old, new, newer], new)) == [102]


def test_of_one_moment_the_lower_id_is_older() -> None:
    first, second = point(1), point(2)
    assert ids(retention.superseded([first, second], second)) == [102]
    assert retention.superseded([first, second], first) == []


def test_what_was_made_while_the_clock_was_ahead_is_older_all_the_same() -> None:
    ahead, new = point(1, TIME + 86400), point(2)
    assert ids(retention.superseded([new, ahead], new)) == [102]
    assert retention.superseded([new, ahead], ahead) == []


def test_kept_ones_and_oneshots_stay() -> None:
    kept, oneshot, old, new = (
        point(1, TIME - 30, KEEP="YES"),
        point(2, TIME - 20, ONESHOT="YES"),
        point(3, TIME - 10),
        point(4),
    )
    assert ids(retention.superseded([kept, oneshot, old, new], new)) == [302]


def test_other_vms_stay() -> None:
    other, new = point(1, TIME - 10, {"ID": "5"}), point(2)
    assert retention.superseded([other, new], new) == []


def test_an_earlier_vm_of_the_same_id_keeps_its_restore_points() -> None:
    """After a database was set up anew, ids begin at 0 again; the moment of the VM's creation tells them apart."""
    earlier, new = point(1, TIME - 10, {"STIME": "1500000000"}), point(2)
    assert retention.superseded([earlier, new], new) == []


def test_a_list_without_the_new_one_deletes_nothing() -> None:
    old, new = point(1, TIME - 10), point(2)
    assert retention.superseded([old], new) == []
    assert retention.superseded([], new) == []


def test_a_list_in_which_the_new_one_is_damaged_deletes_nothing() -> None:
    """It was whole a moment ago: whatever happened, the older one is the only good one."""
    old, new = point(1, TIME - 10), point(2)
    first, second, whole = objects.restore_point_apps(run=f"{2:032x}", first_id=200)
    for apps in ([first, whole], [altered(first, STATE="3"), second, whole], [altered(first, MD5="x"), second, whole]):
        assert retention.superseded([old, *points(apps)], new) == []


def test_a_damaged_older_one_goes_too() -> None:
    first, _, whole = objects.restore_point_apps(run=f"{1:032x}", moment=TIME - 10)
    new = point(2)
    assert ids(retention.superseded([*points([first, whole]), new], new)) == [102]


def test_points_without_a_readable_vm_or_time_stay() -> None:
    new = point(3)
    *disks, whole = objects.restore_point_apps(run=f"{1:032x}", moment=TIME - 10)
    for path in ("VM_ID", "VM_STARTED", "TIME"):
        unreadable = points([*disks, altered(whole, **{f"TEMPLATE__ONEBACKUP__{path}": "?"})])
        assert retention.superseded([*unreadable, new], new) == [], path
