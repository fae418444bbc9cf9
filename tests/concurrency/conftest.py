# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the end-to-end tests, and which of these tests run by default: all of them take minutes.

`pytest tests/concurrency -m "wide or not wide"` (or `make hammer`) runs all.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import own_site, proxy, site

__all__ = ["own_site", "proxy", "site"]

#: What failed once, and one of each kind.
_SAMPLE = (
    "test_changed_while_it_is_down_it_runs_again[7.4-resized]",
    "test_changed_after_the_run_died_it_runs_again[6.4-migrated]",
    "test_what_is_still_being_changed_is_waited_for[disk_resize]",
    "test_a_guest_that_shut_itself_down_after_our_resume_stays_off[7.4]",
    "test_a_resume_that_failed_is_done_again[6.4]",
    "test_stopped_by_another_after_we_died_before_our_poweroff[tenant]",
    "test_stopped_right_after_our_resume_the_backup_is_good[guest]",
    "test_resumed_by_the_user_just_before_us[7.4]",
    "test_restarted_by_the_user_just_before_it_was_to_be_stopped",
    "test_many_at_once",
    "test_two_hooks_at_once",
    "test_both_front_ends_back_the_same_vm_up[7.4-one.template.allocate-after-1]",
    "test_the_other_front_end_restores_what_is_replaced[2]",
    "test_the_marketplace_is_deleted_during_the_upload[6.4-2-after]",
    "test_a_new_app_is_deleted_by_a_user_before_the_restore_point_is_complete[7.4-1-True]",
    "test_backup_is_changed_in_the_middle[one.vm.action resume-_elsewhere]",
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "wide: not run by default; -m 'wide or not wide' runs all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if "tests/concurrency/" in item.nodeid and "test_hammer" not in item.nodeid]
    for item in ours:
        if item.name not in _SAMPLE:
            item.add_marker("wide")
    named = any("::" in argument for argument in config.args)
    if not config.option.markexpr and not config.option.keyword and not named:
        wide = [item for item in ours if item.get_closest_marker("wide")]
        items[:] = [item for item in items if item not in wide]
        config.hook.pytest_deselected(items=wide)
