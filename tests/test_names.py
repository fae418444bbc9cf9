# SPDX-License-Identifier: Apache-2.0
"""Names that every front-end takes, whatever a VM is called, each with the run's id in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onebackup_driver import names
from sandbox.core import names as rules_of_oned
from tests.objects import RUN

MOMENT = "20261123_023838"
VM_NAMES = st.one_of(
    st.text(max_size=20),
    st.text(min_size=100, max_size=200),
    st.text(alphabet="&|:\\\";/'#{}$<>\n\t ü漢😀a", max_size=150),
    st.text(alphabet="漢", min_size=30, max_size=80),
)


@settings(max_examples=150, deadline=None)
@given(VM_NAMES, st.integers(min_value=0, max_value=9999))
def test_every_name_is_one_that_oned_takes(vm_name: str, disk_id: int) -> None:
    backup, restored = names.backup(vm_name, MOMENT, RUN), names.restored(vm_name, RUN)
    for name in (backup, names.disk(backup, disk_id), restored, names.disk(restored, disk_id), names.safe(vm_name)):
        assert rules_of_oned.problem(name) is None, name
        assert name == name.strip() and name.isprintable() == names.safe(vm_name).isprintable()


@settings(max_examples=100, deadline=None)
@given(VM_NAMES, st.integers(min_value=0, max_value=9999))
def test_the_run_is_found_again_in_every_name(vm_name: str, disk_id: int) -> None:
    backup, restored = names.backup(vm_name, MOMENT, RUN), names.restored(vm_name, RUN)
    for name in (backup, names.disk(backup, disk_id), restored, names.disk(restored, disk_id)):
        assert names.carries(name, RUN)
        assert not names.carries(name, "f" * 32)


def test_names_say_what_they_are() -> None:
    backup = names.backup("web", MOMENT, RUN)
    assert backup == f"web - BACKUP - 20261123_023838 - {RUN}"
    assert names.disk(backup, 3) == f"{backup}-disk-3"
    assert names.restored("web", RUN) == f"web - RESTORED {RUN}"


@pytest.mark.parametrize(
    "name, safe",
    [
        ("web", "web"),
        ('a"b/c:d', "a_b_c_d"),
        ("  many   spaces \n", "many spaces _"),
        ("", "VM"),
        ("   ", "VM"),
        ("größe 漢", "größe 漢"),
    ],
)
def test_refused_characters_are_replaced_and_the_rest_stays(name: str, safe: str) -> None:
    assert names.safe(name) == safe


def test_a_long_name_is_cut_between_characters() -> None:
    assert names.safe("漢" * 60) == "漢" * 42  # 126 bytes; a third of a character does not go
    assert names.safe("x" * 200) == "x" * 128
    assert len(names.safe("x" * 200, 20)) == 20


def test_nothing_belongs_to_no_run() -> None:
    assert not names.carries("anything", "")
    assert not names.carries("", RUN)


def test_a_run_id_in_the_middle_of_a_strangers_name_does_not_count() -> None:
    assert not names.carries(f"{RUN} of my own", RUN)
