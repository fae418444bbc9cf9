# SPDX-License-Identifier: Apache-2.0
"""Our hooks at a front-end: created, updated, left alone, removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from onebackup_driver import errors
from onebackup_driver.frontend import FrontEnd
from onebackup_driver.hooks import registration
from sandbox import process
from tests.hooks.hooked import SCRIPTS, TEMPLATES

API = {"onebackup_vm_backup", "onebackup_vm_update"}
STATE = {"onebackup_vm_done", "onebackup_vm_poweroff"}


@pytest.fixture
def client(front_end: process.FrontEnd) -> FrontEnd:
    client = FrontEnd(front_end.endpoint, front_end.session, 30, 5)
    registration.unregister(client)
    return client


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the templates, to change."""
    for path in TEMPLATES.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    return tmp_path


def hooks(front_end: process.FrontEnd) -> dict[str, etree._Element]:
    pool = etree.fromstring(front_end.call("one.hookpool.info", -2, -1, -1).encode())
    return {item.findtext("NAME", ""): item for item in pool.findall("HOOK")}


def change(directory: Path, name: str, old: str, new: str) -> None:
    path = directory / f"onebackup_{name}.hook"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_the_templates_are_what_the_front_end_needs() -> None:
    templates = {item.name: item.attributes for item in registration.templates(TEMPLATES)}
    assert set(templates) == API | STATE
    for name, attributes in templates.items():
        assert attributes["ARGUMENTS_STDIN"] == "yes", "only this word works (src/hm/onehem-server.rb)"
        script = SCRIPTS / attributes["COMMAND"].removeprefix("onebackup/")
        assert attributes["COMMAND"].startswith("onebackup/"), "relative to hook_base_path"
        assert script.stat().st_mode & 0o777 == 0o755
        assert len(script.read_text().splitlines()) <= 10
        if name in API:
            assert (attributes["TYPE"], attributes["ARGUMENTS"]) == ("api", "$API")
            assert attributes["CALL"] == name.replace("onebackup_vm_", "one.vm.")
        else:
            assert (attributes["TYPE"], attributes["ARGUMENTS"]) == ("state", "$TEMPLATE")
            assert (attributes["ON"], attributes["LCM_STATE"]) == ("CUSTOM", "LCM_INIT")
            assert attributes["STATE"] == name.removeprefix("onebackup_vm_").upper()


@pytest.mark.both_versions
@pytest.mark.parametrize("name", sorted(API | STATE))
def test_the_files_are_valid_input_for_onehook_create(
    client: FrontEnd, front_end: process.FrontEnd, version: str, name: str
) -> None:
    """`onehook create` hands the file over as it is, comments and all."""
    text = (TEMPLATES / f"{name}.hook").read_text()
    if version == "6.4" and name == "onebackup_vm_backup":
        with pytest.raises(process.Refused, match="API call does not exist or is not supported: one.vm.backup"):
            front_end.call("one.hook.allocate", text)
        return
    front_end.call("one.hook.allocate", text)
    states = {change.name: change.what for change in registration.check(client, TEMPLATES)}
    assert states[name] == registration.EQUAL
    assert [change.name for change in registration.unregister(client)] == [name]


@pytest.mark.both_versions
def test_twice_changes_nothing_and_unregister_removes_ours_only(
    client: FrontEnd, front_end: process.FrontEnd, version: str
) -> None:
    other = front_end.call(
        "one.hook.allocate", 'NAME="theirs"\nTYPE="api"\nCALL="one.vm.update"\nCOMMAND="onebackup/theirs"'
    )
    first = {change.name: change.what for change in registration.register(client, TEMPLATES)}
    missing = {"onebackup_vm_backup"} if version == "6.4" else set()
    expected = {name: registration.SKIPPED if name in missing else registration.CREATED for name in API | STATE}
    assert first == expected
    before = {name: item.findtext("ID") for name, item in hooks(front_end).items()}
    calls = front_end.control("count", method="one.hook.update"), front_end.control("count", method="one.hook.delete")
    second = {change.name: change.what for change in registration.register(client, TEMPLATES)}
    assert second == {
        name: registration.SKIPPED if name in missing else registration.EQUAL for name in API | STATE
    }
    assert {name: item.findtext("ID") for name, item in hooks(front_end).items()} == before
    assert calls == (
        front_end.control("count", method="one.hook.update"), front_end.control("count", method="one.hook.delete")
    )  # fmt: skip
    removed = registration.unregister(client)
    assert {change.name for change in removed} == (API | STATE) - missing
    assert "theirs" in hooks(front_end)
    assert registration.unregister(client) == []
    front_end.call("one.hook.delete", other)


def test_a_call_the_front_end_does_not_have_is_said(client: FrontEnd, directory: Path) -> None:
    change(directory, "vm_backup", "one.vm.backup", "one.vm.nonsense")
    lines = [str(item) for item in registration.register(client, directory)]
    assert "hook onebackup_vm_backup: skipped (this front-end does not have one.vm.nonsense)" in lines
    registration.unregister(client)


@pytest.mark.both_versions
@pytest.mark.parametrize(
    "name, old, new",
    [
        ("vm_update", "onebackup/vm_update", "onebackup/vm_other"),
        ("vm_update", '"one.vm.update"', '"one.vm.rename"'),
        ("vm_done", 'ARGUMENTS_STDIN = "yes"', 'ARGUMENTS_STDIN = "yes"\nTIMEOUT = "30"'),
        ("vm_poweroff", '"POWEROFF"', '"UNDEPLOYED"'),
    ],
)
def test_a_changed_definition_is_updated(
    client: FrontEnd, front_end: process.FrontEnd, directory: Path, name: str, old: str, new: str
) -> None:
    registration.register(client, TEMPLATES)
    before = hooks(front_end)[f"onebackup_{name}"].findtext("ID")
    change(directory, name, old, new)
    done = {item.name: item.what for item in registration.register(client, directory)}
    assert done.pop(f"onebackup_{name}") == registration.UPDATED
    assert set(done.values()) <= {registration.EQUAL, registration.SKIPPED}
    assert hooks(front_end)[f"onebackup_{name}"].findtext("ID") == before
    found = {item.name: item.what for item in registration.check(client, directory)}
    assert found[f"onebackup_{name}"] == registration.EQUAL
    registration.unregister(client)


def test_a_hook_of_another_kind_is_made_anew(client: FrontEnd, front_end: process.FrontEnd) -> None:
    front_end.call(
        "one.hook.allocate", 'NAME="onebackup_vm_done"\nTYPE="api"\nCALL="one.vm.update"\nCOMMAND="onebackup/vm_done"'
    )
    done = {item.name: item.what for item in registration.register(client, TEMPLATES)}
    assert done["onebackup_vm_done"] == registration.UPDATED
    assert hooks(front_end)["onebackup_vm_done"].findtext("TYPE") == "state"
    registration.unregister(client)


def test_a_hook_of_ours_without_a_template_goes(
    client: FrontEnd, front_end: process.FrontEnd, directory: Path
) -> None:
    registration.register(client, TEMPLATES)
    (directory / "onebackup_vm_done.hook").unlink()
    done = {item.name: item.what for item in registration.register(client, directory)}
    assert done["onebackup_vm_done"] == registration.REMOVED
    assert "onebackup_vm_done" not in hooks(front_end)
    registration.unregister(client)


@pytest.mark.parametrize(
    "line, words",
    [
        ("NAME = onebackup_x", "line 2: not NAME"),
        ('NAME = "theirs"', "a NAME that begins with onebackup_ is missing"),
        ('NAME = "onebackup_x"', "COMMAND, TYPE is missing"),
    ],
)
def test_a_bad_template_is_named_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "onebackup_x.hook").write_text(f"# a hook\n{line}\n")
    if "missing" in words and "begins" in words:
        (tmp_path / "onebackup_x.hook").write_text(f'# a hook\n{line}\nTYPE = "api"\nCOMMAND = "x"\n')
    with pytest.raises(errors.UsageError, match=words):
        registration.templates(tmp_path)


def test_no_template_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="there is no hook template"):
        registration.templates(tmp_path)
