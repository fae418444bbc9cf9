# SPDX-License-Identifier: Apache-2.0
"""Restore points, read from apps that somebody trusted owns, and what is wrong with the damaged ones."""

from __future__ import annotations

from typing import Any

import pytest

from onebackup_driver import app, catalogue, states
from tests import objects
from tests.objects import RUN, TIME, altered, points, without

OTHER_RUN = "f" * 32


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_a_whole_restore_point(version: str) -> None:
    (point,) = points(objects.restore_point_apps(version, NOT_SAVED="2"))
    assert (point.backup_id, point.run, point.vm_id, point.time) == (102, RUN, {"6.4": 8, "7.4": 4}[version], TIME)
    assert point.vm_started == objects.machine(version).started
    assert (point.app_ids, point.size_mb, point.problems, point.kept) == ([100, 101, 102], 1024, (), False)
    assert [(saved.disk_id, saved.app_id, saved.size_mb, saved.format) for saved, _ in point.disks] == [
        (0, 100, 512, "qcow2"),
        (1, 101, 512, "qcow2"),
    ]
    for saved, image_app in point.disks:
        assert image_app is not None and (saved.app_name, saved.md5) == (image_app.name, image_app.md5)


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_other_apps_are_no_restore_points(version: str) -> None:
    pool = app.parse_pool(objects.load(version, "apppool"))
    assert points(pool) == []
    assert [point.backup_id for point in points(pool, objects.restore_point_apps(version, first_id=900))] == [902]


def test_points_are_listed_oldest_first() -> None:
    newest = objects.restore_point_apps(run="c" * 32, moment=TIME + 5, first_id=200)
    oldest = objects.restore_point_apps(run="a" * 32, moment=TIME - 5, first_id=300)
    same = objects.restore_point_apps(run="b" * 32, moment=TIME + 5, first_id=100)
    assert [point.backup_id for point in points(newest, oldest, same)] == [302, 102, 202]


# --- who may make a restore point (B14) ---


def test_a_strangers_app_never_counts() -> None:
    forged = [altered(item, UID="7") for item in objects.restore_point_apps()]
    assert points(forged) == []
    assert [point.backup_id for point in points(forged, trusted=frozenset({0, 7}))] == [102]


def test_a_strangers_image_app_does_not_complete_our_restore_point() -> None:
    """It could carry another disk under our run id."""
    first, second, whole = objects.restore_point_apps()
    (point,) = points([altered(first, UID="7"), second, whole])
    assert point.problems == ("app 100 of disk 0 is gone",)


def test_a_stranger_cannot_add_to_a_run() -> None:
    own = objects.restore_point_apps()
    forged = altered(objects.restore_point_apps(first_id=500)[0], UID="7")
    assert [made.app_id for made in catalogue.made_by([*own, forged], RUN, {0})] == [102, 100, 101]


def test_what_a_run_made_is_listed_template_app_first() -> None:
    own, others = objects.restore_point_apps(), objects.restore_point_apps(run=OTHER_RUN, first_id=200)
    assert [made.app_id for made in catalogue.made_by(own + others, RUN, {0})] == [102, 100, 101]
    assert catalogue.made_by(own + others, "", {0}) == []
    assert catalogue.made_by([without(own[0], "TEMPLATE/ONEBACKUP")], "", {0}) == []


# --- what can be wrong ---


def test_a_missing_image_app_is_a_problem() -> None:
    _, second, whole = objects.restore_point_apps()
    (point,) = points([second, whole])
    assert point.problems == ("app 100 of disk 0 is gone",)
    assert point.app_ids == [100, 101, 102]


def test_an_image_app_of_another_run_under_the_same_id_is_not_taken() -> None:
    """Ids are not reused by oned, but a restored database may give them out again."""
    first, second, whole = objects.restore_point_apps()
    other = objects.restore_point_apps(run=OTHER_RUN)[0]
    (point,) = [item for item in points([other, second, whole]) if item.run == RUN]
    assert first.app_id == other.app_id and point.problems == ("app 100 of disk 0 is gone",)


def test_an_image_app_in_another_marketplace_is_not_taken() -> None:
    first, second, whole = objects.restore_point_apps()
    (point,) = points([altered(first, MARKETPLACE_ID="55"), second, whole])
    assert point.problems == ("app 100 of disk 0 is gone",)


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"STATE": str(states.APP_ERROR)}, "app 101 of disk 1 is ERROR"),
        ({"STATE": str(states.APP_LOCKED)}, "app 101 of disk 1 is LOCKED"),
        ({"STATE": str(states.APP_DISABLED)}, "app 101 of disk 1 is DISABLED"),
        ({"MD5": "0" * 32}, "app 101 of disk 1 is not what was saved (size or checksum changed)"),
        ({"SIZE": "511"}, "app 101 of disk 1 is not what was saved (size or checksum changed)"),
    ],
)
def test_a_changed_image_app_is_a_problem(changes: dict[str, str], problem: str) -> None:
    first, second, whole = objects.restore_point_apps()
    (point,) = points([first, altered(second, **changes), whole])
    assert point.problems == (problem,)


def test_a_vm_app_that_is_not_ready_is_a_problem() -> None:
    *disks, whole = objects.restore_point_apps()
    (point,) = points([*disks, altered(whole, STATE=str(states.APP_ERROR))])
    assert point.problems == ("app 102 is ERROR",)


def test_every_problem_is_told() -> None:
    first, _, whole = objects.restore_point_apps()
    (point,) = points([altered(first, STATE="3"), altered(whole, STATE="4")])
    assert len(point.problems) == 3


# --- damaged manifests ---


@pytest.mark.parametrize(
    "changes", [{"TEMPLATE__ONEBACKUP__RUN": ""}, {"TEMPLATE__ONEBACKUP__ROLE": "disk"}, {"TYPE": "1"}]
)
def test_without_run_role_or_type_it_is_no_restore_point(changes: dict[str, str]) -> None:
    *disks, whole = objects.restore_point_apps()
    assert points([*disks, altered(whole, **changes)]) == []


def test_a_manifest_that_names_no_disk_is_a_problem() -> None:
    *disks, whole = objects.restore_point_apps()
    (point,) = points([*disks, without(whole, "TEMPLATE/ONEBACKUP_DISK")])
    assert point.problems == ("app 102 names no disk",)


def test_a_manifest_of_a_later_format_is_a_problem() -> None:
    *disks, whole = objects.restore_point_apps()
    (point,) = points([*disks, altered(whole, TEMPLATE__ONEBACKUP__FORMAT="2")])
    assert point.problems == ("app 102 has the format '2', this version reads 1",)


def test_damaged_numbers_never_match_anything() -> None:
    *disks, whole = objects.restore_point_apps()
    damaged = altered(
        whole, TEMPLATE__ONEBACKUP__VM_ID="four", TEMPLATE__ONEBACKUP__TIME="", TEMPLATE__ONEBACKUP_DISK__APP_ID="x"
    )
    (point,) = points([*disks, damaged])
    assert (point.vm_id, point.time) == (-1, -1)
    assert point.problems == ("app -1 of disk 0 is gone",)
    assert catalogue.of_vm([point], 4) == []


def test_points_of_a_reused_vm_id_can_be_told_apart() -> None:
    old = objects.restore_point_apps(run="a" * 32, first_id=200, vm_changes={"STIME": "1500000000"})
    new = objects.restore_point_apps()
    found = points(old, new)
    started = objects.machine().started
    assert [point.backup_id for point in catalogue.of_vm(found, 4)] == [102, 202]
    assert [point.backup_id for point in catalogue.of_vm(found, 4, started)] == [102]
    assert [point.backup_id for point in catalogue.of_vm(found, 4, 1500000000)] == [202]
    assert catalogue.of_vm(found, 5) == []


@pytest.mark.parametrize("tag, kept", [("KEEP", True), ("ONESHOT", True), ("MODE", False)])
def test_kept_points(tag: str, kept: bool) -> None:
    tags: dict[str, Any] = {tag: "yes"}
    (point,) = points(objects.restore_point_apps(**tags))
    assert point.kept == kept
