# SPDX-License-Identifier: Apache-2.0
"""`onevm` before the stock one: what is passed through arrives untouched, what is ours behaves as 6.4 did."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import checks, machines
from tests.e2e.conftest import site
from tests.e2e.site import Site

__all__ = ["site"]

WRAPPER = Path(__file__).resolve().parents[1] / "share" / "onevm"
STOCK = """#!/bin/sh
printf 'stock:%s\\n' "$#"
for word in "$@"; do printf '<%s>\\n' "$word"; done
[ -t 0 ] && echo 'a terminal' || { printf 'stdin:'; cat; }
exit 42
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


class Onevm:
    """The wrapper in one folder of PATH, a stock command in the next."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.ours, self.stock = folder / "ours", folder / "stock"
        for path in (self.ours, self.stock):
            path.mkdir(parents=True)
        wrapper = self.ours / "onevm"
        wrapper.write_text(f"#!{sys.executable}\n" + WRAPPER.read_text().split("\n", 1)[1])
        (self.stock / "onevm").write_text(STOCK)
        for path in (wrapper, self.stock / "onevm"):
            path.chmod(0o755)
        self.environment = {**environment, "PATH": f"{self.ours}:{self.stock}:/usr/bin:/bin"}

    def run(self, *words: object, stdin: str = "", **environment: str) -> Ran:
        done = subprocess.run(
            ["onevm", *map(str, words)],
            input=stdin,
            capture_output=True,
            text=True,
            env={**self.environment, **environment},
            executable=str(self.ours / "onevm"),
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def passed(self, *words: object, **environment: str) -> None:
        """The words reach the stock command as they are, and its exit code comes back."""
        expected = f"stock:{len(words)}\n" + "".join(f"<{word}>\n" for word in words) + "stdin:in put\n"
        assert self.run(*words, stdin="in put\n", **environment) == Ran(42, expected, "")


@pytest.fixture
def alone(tmp_path: Path) -> Onevm:
    """Without a front-end: nothing listens at ONE_XMLRPC."""
    auth = tmp_path / "one_auth"
    auth.write_text("oneadmin:x")
    environment = {"HOME": str(tmp_path), "ONE_AUTH": str(auth), "ONE_XMLRPC": "http://127.0.0.1:9/RPC2"}
    return Onevm(tmp_path / "bin", {**environment, "ONE_LOCATION": str(tmp_path)})


@pytest.fixture
def onevm(site: Site, tmp_path: Path) -> Onevm:
    return Onevm(tmp_path / "bin", site.environment)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("list",),
        ("show", "5", "-x"),
        ("--help",),
        ("update", "3", "a file with spaces", "", "quote'\"$(x)\nnewline"),
        ("backup",),
        ("backup", "--help"),
        ("backup", "5", "-d", "100"),
        ("backup", "5", "--datastore", "100", "--reset"),
        ("backup", "5", "--schedule", "now"),
        ("backup", "5", "--keep"),
        ("backup", "5", "--endpoint", "http://other/RPC2"),
        ("backup", "not a vm"),
        ("backup", "5..3"),
        ("backup", "0..99999999"),
        ("restore", "5"),
        ("restore", "5", "77"),
        ("restore", "5", "77", "--disk-id", "0"),
        ("restore", "5", "77", "-d", "1"),
        ("restore", "x", "-d", "1"),
        ("backup", "5"),  # nobody can tell whose it is without a front-end
        ("restore", "5", "-d", "1"),
        ("backup", "5", "--market", "100"),
    ],
    ids=" ".join,
)
def test_what_is_not_ours_is_passed_through(alone: Onevm, words: tuple[str, ...]) -> None:
    alone.passed(*words)


def test_the_terminal_stays_the_terminal(alone: Onevm) -> None:
    main, terminal = pty.openpty()
    done = subprocess.run(
        [str(alone.ours / "onevm"), "top"], stdin=terminal, capture_output=True, text=True, env=alone.environment
    )
    os.close(main)
    os.close(terminal)
    assert (done.returncode, done.stdout) == (42, "stock:1\n<top>\na terminal\n")


def test_passing_through_is_no_child_process(alone: Onevm) -> None:
    """A signal to onevm is a signal to the stock command."""
    (alone.stock / "onevm").write_text("#!/bin/sh\necho $$\n")
    process = subprocess.Popen(
        [str(alone.ours / "onevm"), "list"], stdout=subprocess.PIPE, text=True, env=alone.environment
    )
    assert process.communicate(timeout=30)[0] == f"{process.pid}\n"


def test_the_wrapper_never_finds_itself(alone: Onevm) -> None:
    """Twice in PATH, as a link and as a copy."""
    again = alone.folder / "again"
    again.mkdir()
    (again / "onevm").symlink_to(alone.ours / "onevm")
    copy = alone.folder / "copy"
    copy.mkdir()
    (copy / "onevm").write_bytes((alone.ours / "onevm").read_bytes())
    (copy / "onevm").chmod(0o755)
    alone.passed("list", PATH=f"{again}:{alone.ours}:{copy}:{alone.stock}:/usr/bin:/bin")


def test_without_a_stock_command_it_says_so(alone: Onevm) -> None:
    assert alone.run("list", PATH=f"{alone.ours}") == Ran(
        127, "", "ERROR: onebackup's onevm finds no other onevm in PATH\n"
    )


def test_who_may_not_write_our_state_is_passed_through(onevm: Onevm, site: Site) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF)
    machines_location = site.folder / "nobody writes here"
    machines_location.mkdir()
    (machines_location / "var").write_text("a file where the directory should be")
    onevm.passed("backup", vm_id, ONE_LOCATION=str(machines_location))


@pytest.mark.both_versions
def test_a_backup_with_the_output_of_6_4(onevm: Onevm, site: Site) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF)
    assert onevm.run("backup", vm_id) == Ran(0, "", ""), "silent without -v"
    apps = site.recorded(vm_id)
    assert len(apps) == 2
    assert onevm.run("backup", vm_id) == Ran(0, "", ""), "not due: silent"
    machines.make_due(site, vm_id)
    said = onevm.run("backup", vm_id, "-v")
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0] == f"VM {vm_id}: Backup"
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO|WARN) +: ", line) for line in lines[1:]), lines
    texts = [line.split(" : ", 1)[1] for line in lines[1:]]
    assert texts[0] == "Saving VM as template"
    assert "Creating VM app" in texts
    assert f"Deleting appliance {apps[-1]}" in texts
    assert site.recorded(vm_id) != apps


def test_keep_backup_and_a_log_file(onevm: Onevm, site: Site) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF)
    onevm.run("backup", vm_id)
    first = site.recorded(vm_id)
    machines.make_due(site, vm_id)
    log = site.folder / "backup.log"
    assert onevm.run("backup", str(vm_id), "--keep-backup", "--logger", log) == Ran(0, "", "")
    assert "Saving VM as template" in log.read_text()
    assert set(first) < set(site.apps())


@pytest.mark.both_versions
def test_a_oneshot_of_a_vm_without_a_section(onevm: Onevm, site: Site) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF, backup="-")
    onevm.passed("backup", vm_id)
    assert onevm.run("backup", vm_id, "--oneshot", "--market", site.market) == Ran(0, "", "")
    assert (len(site.apps()), site.recorded(vm_id)) == (2, [])
    assert onevm.run("backup", vm_id, "--oneshot") == Ran(255, "", "no market given\n")


@pytest.mark.both_versions
def test_a_restore_with_the_output_of_6_4(onevm: Onevm, site: Site) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF)
    onevm.run("backup", vm_id)
    said = onevm.run("restore", vm_id, "-d", "default")
    assert said.code == 0, said
    texts = [line.split(" : ", 1)[1] for line in said.out.splitlines()[:-1]]
    assert texts[0] == "Reading backup information"
    assert any(text.startswith(f"Restoring VM {vm_id} from saved appliance ") for text in texts)
    new = int(said.out.splitlines()[-1].removeprefix("ID: "))
    assert site.vm_state(new) == machines.RUNNING
    checks.same_bytes(site, new, site.recorded(vm_id)[:-1])


@pytest.mark.both_versions
def test_a_vm_we_have_nothing_of(onevm: Onevm, site: Site, version: str) -> None:
    """6.4's own command may have a backup of it; a newer one has no `restore -d`."""
    vm_id = machines.machine(site, state=machines.POWEROFF)
    if version == "6.4":
        onevm.passed("restore", vm_id, "-d", 1)
    else:
        said = onevm.run("restore", vm_id, "-d", 1)
        told = f"there is no restore point of VM {vm_id}; all there are: onebackup list\n"
        assert (said.code, said.err) == (255, told)


def test_errors_end_as_those_of_the_stock_command(onevm: Onevm, site: Site) -> None:
    vm_id = machines.machine(site, state=machines.HOLD)
    said = onevm.run("backup", vm_id)
    assert (said.code, said.out) == (255, "")
    assert len(said.err.splitlines()) == 1
    assert "HOLD" in said.err


def test_a_list_a_range_and_names(onevm: Onevm, site: Site) -> None:
    """Ours are backed up; of the others each becomes a stock call; the worst exit code is the answer."""
    ours = [machines.machine(site, state=machines.POWEROFF) for _ in range(2)]
    other = machines.machine(site, state=machines.POWEROFF, backup="-")
    named = machines.machine(site, state=machines.POWEROFF, name=f"by-name-{ours[0]}")
    assert ours[1] == ours[0] + 1
    said = onevm.run("backup", f"{ours[0]}..{ours[1]},by-name-{ours[0]}")
    assert said == Ran(0, "", "")
    assert [len(site.recorded(vm_id)) for vm_id in (*ours, named)] == [2, 2, 2]
    for vm_id in ours:
        machines.make_due(site, vm_id)
    before = site.recorded(ours[1])
    said = onevm.run("backup", f"{ours[0]},{other},{ours[1]}", "--keep-backup")
    assert said.code == 42
    assert said.out == f"stock:3\n<backup>\n<{other}>\n<--keep-backup>\nstdin:"
    assert site.recorded(ours[1]) != before, "an error of one does not keep the next one from its backup"


def test_an_unknown_name_is_left_to_the_stock_command(onevm: Onevm) -> None:
    onevm.passed("backup", "nobody has this name")


def test_an_interrupted_backup_is_undone(onevm: Onevm, site: Site) -> None:
    vm_id = machines.machine(site)
    before = site.everything()
    site.front_end.control("hang", method="one.marketapp.allocate", nth=1, seconds=5)
    process = subprocess.Popen(
        [str(onevm.ours / "onevm"), "backup", str(vm_id), "-v"],
        env=onevm.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Importing image to market place" in line:
            process.terminate()
            break
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + 15, err
    checks.undone(site, before, vm_id)
