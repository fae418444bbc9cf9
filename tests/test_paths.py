# SPDX-License-Identifier: Apache-2.0
"""Where things lie: system-wide, self-contained, and as the environment says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from onebackup_driver import errors, paths


def home(tmp_path: Path, **files: str) -> str:
    """A home directory with files in .one."""
    directory = tmp_path / "home"
    (directory / ".one").mkdir(parents=True)
    for name, content in files.items():
        (directory / ".one" / name).write_text(content)
    return str(directory)


def test_a_packaged_front_end(tmp_path: Path) -> None:
    found = paths.find({"HOME": home(tmp_path)})
    assert found.configuration == Path("/etc/one/onebackup.yaml")
    assert found.state == Path("/var/lib/one/onebackup")
    assert (found.journals, found.locks) == (found.state / "journal", found.state / "locks")
    assert found.one_auth == Path("/var/lib/one/.one/one_auth")
    assert found.endpoint == "http://localhost:2633/RPC2"


def test_a_self_contained_front_end(tmp_path: Path) -> None:
    found = paths.find({"HOME": home(tmp_path), "ONE_LOCATION": "/srv/cloud"})
    assert found.configuration == Path("/srv/cloud/etc/onebackup.yaml")
    assert found.state == Path("/srv/cloud/var/onebackup")
    assert found.one_auth == Path("/srv/cloud/var/.one/one_auth")


@pytest.mark.parametrize("folders, found_there", [("lib/onebackup/venv", True), ("lib/one/onebackup/venv", False)])
def test_what_was_installed_into_a_self_contained_front_end_knows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: str, found_there: bool
) -> None:
    """The hook manager hands no ONE_LOCATION on."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / folders))
    assert paths.find({"HOME": home(tmp_path)}).state == Path("/var/lib/one/onebackup"), "no front-end there"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "oned.conf").touch()
    expected = tmp_path / "var" if found_there else Path("/var/lib/one")
    assert paths.find({"HOME": home(tmp_path / "again")}).state == expected / "onebackup"
    assert paths.find({"ONE_LOCATION": "/srv/cloud"}).state == Path("/srv/cloud/var/onebackup")


def test_the_users_own_session_and_endpoint_count(tmp_path: Path) -> None:
    own = home(tmp_path, one_auth="a:b", one_endpoint="http://other:2633/RPC2\n")
    found = paths.find({"HOME": own, "ONE_LOCATION": "/srv/cloud"})
    assert found.one_auth == Path(own, ".one", "one_auth")
    assert found.endpoint == "http://other:2633/RPC2"


def test_the_environment_wins(tmp_path: Path) -> None:
    named = tmp_path / "backup.yaml"
    named.touch()
    found = paths.find(
        {
            "HOME": home(tmp_path, one_auth="a:b", one_endpoint="http://other:2633/RPC2"),
            "ONE_AUTH": "/secret/auth",
            "ONE_XMLRPC": "http://third/RPC2",
            "ONEBACKUP_CONFIG": str(named),
            "ONE_LOCATION": "/srv/cloud",
        }
    )
    assert found.one_auth == Path("/secret/auth")
    assert found.endpoint == "http://third/RPC2"
    assert found.configuration == named
    assert found.state == Path("/srv/cloud/var/onebackup")


def test_a_configuration_that_is_named_and_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="ONEBACKUP_CONFIG names /nowhere/backup.yaml"):
        paths.find({"HOME": str(tmp_path), "ONEBACKUP_CONFIG": "/nowhere/backup.yaml"})


def test_empty_variables_are_as_none(tmp_path: Path) -> None:
    own = home(tmp_path)
    empty = {"ONE_AUTH": "", "ONE_XMLRPC": "", "ONE_LOCATION": "", "ONEBACKUP_CONFIG": ""}
    assert paths.find({"HOME": own, **empty}) == paths.find({"HOME": own})


def test_no_home_is_oneadmins() -> None:
    assert paths.find({}).one_auth == Path("/var/lib/one/.one/one_auth")


def test_the_state_directory_can_be_elsewhere(tmp_path: Path) -> None:
    before = paths.find({"HOME": home(tmp_path)})
    after = paths.with_state(before, "/mnt/state")
    assert (after.journals, after.locks) == (Path("/mnt/state/journal"), Path("/mnt/state/locks"))
    assert (after.one_auth, after.endpoint) == (before.one_auth, before.endpoint)
