# SPDX-License-Identifier: Apache-2.0
"""BACKUP and ONEBACKUP as they are on a VM after the front-end took them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onebackup_driver import records
from onebackup_driver.xml_values import Vector
from sandbox.core.template import Template
from tests import objects


def after(text: str, name: str) -> Vector:
    """The only attribute in `text`, as oned reads it."""
    (found,) = Template.parse(text).items
    assert found[0] == name and isinstance(found[1], dict)
    return found[1]


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_the_recorded_section_keeps_its_keys(version: str) -> None:
    section = objects.machine(version, "vm-poweroff").backup
    assert section is not None
    found = after(records.backup_section(section, [5, 6, 7], 1795401518, 999), "BACKUP")
    assert found == {**section, "LAST_BACKUP_TIME": "1795401518", "MARKETPLACE_APP_IDS": "5,6,7"}
    assert found["MARKETPLACE_ID"] == section["MARKETPLACE_ID"]


def test_the_stock_keys_come_in_the_stock_order() -> None:
    section = {"FREQUENCY_SECONDS": "60", "MARKETPLACE_ID": "1", "MARKETPLACE_APP_IDS": "1", "LAST_BACKUP_TIME": "2"}
    found = after(records.backup_section(section, [8, 9], 3, 1), "BACKUP")
    assert list(found.items()) == [
        ("FREQUENCY_SECONDS", "60"),
        ("MARKETPLACE_ID", "1"),
        ("LAST_BACKUP_TIME", "3"),
        ("MARKETPLACE_APP_IDS", "8,9"),
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True), st.text(st.characters(codec="ascii"), max_size=12)
    )
)
def test_whatever_the_user_keeps_there_survives(users: Vector) -> None:
    ours = {"LAST_BACKUP_TIME", "MARKETPLACE_APP_IDS"}
    found = after(records.backup_section(users, [1], 2, 3), "BACKUP")
    printable = {key: value for key, value in users.items() if value.isprintable() and key not in ours}
    assert {key: found[key] for key in printable} == printable
    assert (found["LAST_BACKUP_TIME"], found["MARKETPLACE_APP_IDS"]) == ("2", "1")


def test_a_vm_without_section_gets_one() -> None:
    assert after(records.backup_section(None, [1, 2], 3, 100), "BACKUP") == {
        "MARKETPLACE_ID": "100",
        "LAST_BACKUP_TIME": "3",
        "MARKETPLACE_APP_IDS": "1,2",
    }


def test_a_status_is_one_short_line_per_key() -> None:
    message = 'the front-end said: [one.vm.action] "no"\n]]> \x1b[0m and ' + "more " * 200
    found = after(records.status(records.ERROR, message, 17, RUN="abc", PROGRESS=""), "ONEBACKUP")
    assert (found["STATE"], found["TIME"], found["RUN"], found["PROGRESS"]) == ("ERROR", "17", "abc", "")
    assert found["MESSAGE"].startswith('the front-end said: [one.vm.action] "no" ]] > \\x1b[0m and more')
    assert len(found["MESSAGE"]) == 400 and len(found["MESSAGE"].splitlines()) == 1
