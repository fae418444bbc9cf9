# SPDX-License-Identifier: Apache-2.0
"""`onebackup repository …` as an admin types it, wrong input too."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from onebackup_driver.cli import main
from onebackup_driver.repository import keys, repository
from onebackup_driver.repository.stores.directory import DirectoryStore
from tests.repository import disks


class Told(NamedTuple):
    code: int
    out: str
    err: str


Type = Callable[..., Told]


@pytest.fixture
def type_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Type]:
    (tmp_path / "one" / "var").mkdir(parents=True)
    (tmp_path / "one" / "etc").mkdir()
    monkeypatch.setenv("ONE_LOCATION", str(tmp_path / "one"))

    def run(*words: object) -> Told:
        try:
            code = main.main(["repository", *map(str, words)])
        except SystemExit as error:  # argparse
            code = int(error.code or 0)
        said = capsys.readouterr()
        return Told(code, said.out, said.err)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A repository with two days of a disk."""
    made = repository.create(DirectoryStore(tmp_path / "repository"), disks.SMALL)
    first = disks.save(made, disks.content(9))
    disks.save(made, disks.changed(disks.content(9), 5), first.name)
    return f"dir:{tmp_path / 'repository'}"


def root(place: str) -> Path:
    return Path(place[4:])


def test_a_new_encrypted_repository_and_its_key(type_in: Type, tmp_path: Path) -> None:
    place, key_file = f"dir:{tmp_path / 'new'}", tmp_path / "keys" / "backup.key"
    made = type_in("create", place, "--encrypt", "--key-file", key_file, "--compression-level", "3")
    assert made.code == 0 and "encrypted" in made.out and f"key export {place} --key-file {key_file}" in made.out
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    exported = type_in("key", "export", place, "--key-file", key_file)
    assert exported.code == 0
    again = tmp_path / "again.key"  # what is in the safe is put back
    again.touch(0o600)
    again.write_text(exported.out.split("\n", 1)[1])
    assert keys.load(again) == keys.load(key_file)
    assert type_in("status", place, "--key-file", again).code == 0
    assert json.loads(type_in("key", "export", place, "--key-file", key_file, "--json").out)["key"] in exported.out
    assert "it needs its key" in type_in("list", place).err
    other = tmp_path / "other.key"
    keys.create(other)
    assert "this is not the key" in type_in("key", "export", place, "--key-file", other).err
    again.chmod(0o644)
    assert f"chmod 600 {again}" in type_in("verify", place, "--key-file", again).err


def test_what_is_in_it(type_in: Type, place: str) -> None:
    first, second = json.loads(type_in("list", place, "--json").out)
    listed = type_in("list", place).out.splitlines()
    assert len(listed) == 3 and first["name"] in listed[1] and second["name"] in listed[2]
    shown = json.loads(type_in("show", place, second["name"], "--json").out)
    assert shown == second and shown["parent"] == first["name"] and 0 < shown["new_bytes"] < first["new_bytes"]
    assert f"parent         {first['name']}" in type_in("show", place, second["name"]).out
    status = json.loads(type_in("status", place, "--json").out)
    assert status["restore_points"] == 2 and status["data_bytes"] == 2 * 9 * disks.CELL
    assert status["deduplication"] == pytest.approx(2, rel=0.02) and status["compression"] > 1.5
    assert [day["restore_points"] for day in status["growth"]] == [2]
    words = type_in("status", place).out
    assert "never (see: verify)" in words and "deduplication   1.99" in words and "2 restore points, +1 MiB" in words


def test_verify_tells_with_its_exit_code(type_in: Type, place: str) -> None:
    assert type_in("verify", place) == Told(0, type_in("verify", place, "--resume").out, "")
    assert "all verified    since 2" in type_in("status", place).out
    some = json.loads(type_in("verify", place, "--sample", "30", "--json").out)
    assert some["whole"] is True and 0 < some["packs"] < some["packs"] + some["passed_over"]
    assert json.loads(type_in("verify", place, "--older-than-days", "1", "--json").out)["packs"] == 0
    victim = max(
        (path for path in (root(place) / "packs").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    victim.chmod(0o600)
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    found = type_in("verify", place)
    assert found.code == 1 and f"all cells in packs/{victim.parent.name}/{victim.name}: " in found.out
    assert found.out.splitlines()[-1].startswith("DAMAGED: 1 whole pack; ")
    assert "DAMAGED         1 pack (see: verify)" in type_in("status", place).out
    assert json.loads(type_in("verify", place, "--json").out)["whole"] is False


def test_gc_and_reindex(type_in: Type, place: str) -> None:
    assert type_in("gc", place).out.splitlines()[1:] == ["nothing to free"]
    for name in json.loads(type_in("list", place, "--json").out):
        (root(place) / "manifests" / name["name"]).unlink()
    dry = json.loads(type_in("gc", place, "--dry-run", "--json").out)
    assert dry["dry_run"] is True and dry["young"]["packs"] > 0 and dry["deleted"] == {"packs": 0, "bytes": 0}
    for path in (root(place) / "index").iterdir():
        path.unlink()
    assert "would be indexed: " in type_in("reindex", place, "--dry-run").out
    assert list((root(place) / "index").iterdir()) == []
    assert json.loads(type_in("reindex", place, "--json").out)["made"] == 1
    assert "every pack is in an index" in type_in("reindex", place).out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["list"], "required: REPOSITORY"),
        (["list", "/nowhere"], "is it dir:/nowhere?"),
        (["list", "dir:/nowhere"], "there is no repository at dir:/nowhere: is it mounted?"),
        (["list", "dir:relative"], "absolute path"),
        (["list", "s3://"], "names no bucket"),
        (["list", "s3://b/c"], "CREDENTIALS_FILE"),
        (["list", "nothing"], "neither dir:/path nor s3://bucket/prefix nor a known id"),
        (["list", "\x1b[2J"], "neither dir:/path"),
        (["show", "PLACE", "nothing"], "there is no restore point 'nothing' in it; see: onebackup repository list"),
        (["show", "PLACE", "../repository.json"], "there is no restore point"),
        (["verify", "PLACE", "--sample", "0"], "not a number above 0, up to 100"),
        (["verify", "PLACE", "--sample", "nan"], "not a number above 0, up to 100"),
        (["verify", "PLACE", "--older-than-days", "-1"], "not a whole number"),
        (["create", "PLACE"], "there is a repository at"),
        (["create", "dir:/etc"], "a repository gets a directory of its own"),
        (["create", "dir:/nowhere/x", "--encrypt"], "--encrypt needs --key-file"),
        (["create", "dir:/nowhere/x", "--compression-level", "20"], "from 1 to 19"),
        (["create", "dir:/nowhere/x", "--grace-hours", "1"], "must be longer than the longest run"),
        (["key", "export", "PLACE"], "no key file: give --key-file"),
        (["gc", "PLACE", "--key-file", "/nowhere"], "cannot read the key file /nowhere"),
        (["gc", "PLACE", "--option", "X=1"], "NAME=VALUE with a name of ENDPOINT"),
        (["gc", "PLACE", "--option", "ENDPOINT"], "NAME=VALUE with a name of ENDPOINT"),
        (["erase", "PLACE"], "invalid choice"),
    ],
)
def test_wrong_input_is_refused_in_words(type_in: Type, place: str, words: list[str], reason: str) -> None:
    before = sorted(root(place).rglob("*"))
    told = type_in(*(place if word == "PLACE" else word for word in words))
    assert told.code in (2, 3) and told.out == "" and reason in told.err and "\x1b" not in told.err
    assert told.err.startswith("usage: ") or len(told.err.splitlines()) == 1
    assert sorted(root(place).rglob("*")) == before and not Path("/nowhere").exists()
