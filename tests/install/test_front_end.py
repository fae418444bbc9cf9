# SPDX-License-Identifier: Apache-2.0
"""`install.sh` on a front-end: installed twice, changed, removed; file trees and hooks compared."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox import process
from tests.install import front_end_tree
from tests.install.front_end_tree import Tree, one_line, snapshot, without_times

FOREIGN_HOOK = 'NAME="site-audit" TYPE="api" CALL="one.user.allocate" COMMAND="/bin/true"'


@pytest.fixture
def system_wide(tmp_path: Path, version: str) -> Tree:
    """A front-end in the usual places below DESTDIR, and nothing that runs."""
    source = front_end_tree.copy_source(tmp_path / "source")
    tree = front_end_tree.make(Tree(tmp_path / "root", "", source), version)
    tree.path("/etc/cron.d").mkdir(parents=True)
    return tree


def hooks(front_end: process.FrontEnd) -> str:
    return str(front_end.call("one.hookpool.info", -2, -1, -1))


@pytest.mark.both_versions
def test_installed_twice_changed_and_removed(
    system_wide: Tree, fresh_front_end: process.FrontEnd, version: str
) -> None:
    front_end, tree = fresh_front_end, system_wide
    tree.environment.update(front_end.environment)
    front_end.call("one.hook.allocate", FOREIGN_HOOK)
    before, hooks_before = snapshot(tree.root), hooks(front_end)

    first = tree.install()
    assert (first.returncode, first.stderr) == (0, "")
    assert f"on OpenNebula {version}" in first.stdout
    _is_installed(tree)
    registered = hooks(front_end)
    names = ["vm_done", "vm_poweroff", "vm_update", *(["vm_backup"] if version == "7.4" else [])]
    assert registered.count("<HOOK>") == 1 + len(names)
    assert all(f"<NAME>onebackup_{name}</NAME>" in registered for name in names)

    installed = snapshot(tree.root)
    second = tree.install()
    assert (second.returncode, second.stderr) == (0, "")
    assert "files 0 installed, 0 updated" in second.stdout
    assert (snapshot(tree.root), hooks(front_end)) == (installed, registered)

    with open(tree.source / "share/hooks/onebackup_vm_done.hook", "a") as stream:
        stream.write('TIMEOUT = "17"\n')
    third = tree.install()
    assert "hook onebackup_vm_done: updated" in third.stdout
    assert "updated /usr/share/one/onebackup/hooks/onebackup_vm_done.hook" in third.stdout
    changed = hooks(front_end)
    assert changed.count("<TIMEOUT>") == 1 and changed.count("<HOOK>") == registered.count("<HOOK>")

    last = tree.install("--uninstall")
    assert (last.returncode, last.stderr) == (0, "")
    after = without_times(snapshot(tree.root))
    assert after.pop("etc/one/onebackup.yaml")[0] == (tree.source / "etc/onebackup.yaml").read_bytes()
    assert after == without_times(before)
    assert hooks(front_end) == hooks_before
    again = tree.install("--uninstall")
    assert (again.returncode, again.stdout) == (0, f"nothing is installed in {tree.root}\n")


def _is_installed(tree: Tree) -> None:
    for name in ("vm_backup", "vm_done", "vm_poweroff", "vm_update"):
        script = tree.path(f"var/remotes/hooks/onebackup/{name}")
        assert script.read_text().startswith(f"#!{sys.executable} -I\n")
        assert os.access(script, os.X_OK)
    assert tree.path("share/backup_vms").read_text().startswith(f"#!{sys.executable} -I\n")
    assert tree.path("etc/onebackup.yaml").stat().st_mode & 0o777 == 0o640
    assert tree.path("var/onebackup").stat().st_mode & 0o777 == 0o700
    assert "oneadmin" not in tree.path("/etc/cron.d/onebackup").read_text()  # the owner of the var directory runs it
    version = subprocess.run([tree.path("/usr/local/bin/onebackup"), "--version"], capture_output=True, text=True)
    assert version.stdout.startswith("onebackup ")


def test_a_self_contained_installation(tmp_path: Path) -> None:
    """Everything below ONE_LOCATION but the hooks, which lie where the hook manager looks; and they run."""
    source = front_end_tree.copy_source(tmp_path / "source")
    remotes = tmp_path / "elsewhere"
    (remotes / "hooks").mkdir(parents=True)
    location = Tree(Path(), str(tmp_path / "one"), source)
    tree = front_end_tree.make(location, "7.4.0", str(remotes / "hooks"))
    before = snapshot(tmp_path / "one")
    with process.start(tmp_path / "state", "7.4", speed=20, remotes=remotes) as front_end:
        tree.environment.update(front_end.environment)
        first = tree.install("--no-timer")
        assert (first.returncode, first.stderr) == (0, "")
        assert f"export PATH={tree.path('lib/onebackup/bin')}:$PATH" in first.stdout
        assert f"ONE_LOCATION={tree.location} {tree.path('share/backup_vms')}" in first.stdout
        assert tree.path("lib/onebackup/bin/onevm").is_file()
        assert Path(tree.location, "bin", "onebackup").is_file()
        installed = snapshot(tmp_path / "one")
        assert tree.install("--no-timer").returncode == 0
        assert snapshot(tmp_path / "one") == installed
        assert hook_code(front_end) == 0
        assert tree.install("--uninstall").returncode == 0
    after = without_times(snapshot(tmp_path / "one"))
    after.pop("etc/onebackup.yaml")
    left = {name for name in after if name.startswith("var/onebackup")}  # what the hook wrote there
    assert {name: entry for name, entry in after.items() if name not in left} == without_times(before)
    assert list((remotes / "hooks").iterdir()) == []


def hook_code(front_end: process.FrontEnd) -> int:
    """How the installed script ended that one.vm.update set off."""
    vm_id = front_end.call("one.vm.allocate", 'NAME="a" CPU="1" MEMORY="64"', True)
    front_end.call("one.vm.update", vm_id, 'LABELS="x"', 1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        log = str(front_end.call("one.hooklog.info", 0, 0, -1, 0))
        if "<CODE>" in log:
            return int(log.split("<CODE>")[1].split("<")[0])
        time.sleep(0.05)
    raise AssertionError("the hook did not run")


def test_edited_configuration_is_never_touched(system_wide: Tree) -> None:
    tree, own = system_wide, system_wide.path("etc/onebackup.yaml")
    assert tree.install().returncode == 0
    own.write_text("verify: length\n")
    assert "edited" not in tree.install().stdout  # nothing new to tell

    default = tree.source / "etc/onebackup.yaml"
    default.write_text(default.read_text() + "# a new default\n")
    upgraded = tree.install()
    assert (
        "kept /etc/one/onebackup.yaml (it was edited; the new default is /etc/one/onebackup.yaml.new)"
        in upgraded.stdout
    )
    assert own.read_text() == "verify: length\n"
    assert Path(f"{own}.new").read_bytes() == default.read_bytes()
    state = snapshot(tree.root)
    assert tree.install().returncode == 0
    assert snapshot(tree.root) == state

    own.write_bytes(default.read_bytes())  # the admin took it over
    assert tree.install().returncode == 0
    assert not Path(f"{own}.new").exists()
    assert tree.install("--uninstall").returncode == 0
    assert own.read_bytes() == default.read_bytes()


def test_an_unedited_configuration_is_upgraded(system_wide: Tree) -> None:
    tree, default = system_wide, system_wide.source / "etc/onebackup.yaml"
    assert tree.install().returncode == 0
    default.write_text(default.read_text() + "# a new default\n")
    assert "updated /etc/one/onebackup.yaml" in tree.install().stdout
    assert tree.path("etc/onebackup.yaml").read_bytes() == default.read_bytes()


def test_what_is_not_ours_is_left_alone(system_wide: Tree) -> None:
    """Somebody's own onevm; an edited cron file; a stock backup_vms that an upgrade of OpenNebula brought back."""
    tree, stock = system_wide, system_wide.path("share/backup_vms")
    wrapper, cron = tree.path("/usr/local/bin/onevm"), tree.path("/etc/cron.d/onebackup")
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text('#!/bin/sh\nexec /usr/bin/onevm "$@"\n')
    first = tree.install()
    assert "left /usr/local/bin/onevm (it is not ours" in first.stdout
    cron.write_text(cron.read_text().replace("*/15", "7"))
    stock.write_bytes(b"#!/bin/bash\n# newer stock\n")
    second = tree.install()
    assert "installed /usr/share/one/backup_vms (the one before is /usr/share/one/backup_vms.stock)" in second.stdout
    assert cron.read_text().splitlines()[-1].startswith("7 ")
    last = tree.install("--uninstall")
    assert "kept as /etc/cron.d/onebackup.saved" in last.stdout
    assert stock.read_bytes() == b"#!/bin/bash\n# newer stock\n"
    assert wrapper.read_text().startswith("#!/bin/sh")
    assert not cron.exists()


def test_a_script_that_somebody_replaced_is_not_removed(system_wide: Tree) -> None:
    tree, script = system_wide, system_wide.path("var/remotes/hooks/onebackup/vm_done")
    assert tree.install().returncode == 0
    script.write_text("#!/bin/sh\nexit 0\n")
    assert "left /var/lib/one/remotes/hooks/onebackup/vm_done" in tree.install("--uninstall").stdout
    assert script.exists()


def test_systemd_units_where_systemd_runs(system_wide: Tree) -> None:
    tree = system_wide
    tree.path("/run/systemd/system").mkdir(parents=True)
    assert not tree.path("/etc/systemd/system/onebackup-gateway.service").exists()
    completed = tree.install("--enable-market-driver")
    assert completed.returncode == 0
    assert "in the installed system: systemctl enable --now onebackup.timer" in completed.stdout
    assert "in the installed system: systemctl enable --now onebackup-gateway" in completed.stdout
    service = tree.path("/etc/systemd/system/onebackup.service").read_text()
    assert "User=root\n" in service and "ExecStart=/usr/share/one/backup_vms\n" in service
    gateway = tree.path("/etc/systemd/system/onebackup-gateway.service").read_text()
    command = next(line for line in gateway.splitlines() if line.startswith("ExecStart=")).split("=")[1].split()
    assert command[1:] == ["gateway"] and tree.path(command[0]).exists()
    assert not tree.path("/etc/cron.d/onebackup").exists()
    assert "removed /etc/systemd/system/onebackup.timer" in tree.install("--no-timer").stdout


def test_a_dry_run_changes_nothing(system_wide: Tree, front_end: process.FrontEnd) -> None:
    tree = system_wide
    tree.environment.update(front_end.environment)
    before, hooks_before = snapshot(tree.root), hooks(front_end)
    completed = tree.install("--dry-run")
    assert (completed.returncode, completed.stderr) == (0, "")
    assert "would install /usr/local/bin/onebackup" in completed.stdout
    assert "would create hook onebackup_vm_update" in completed.stdout
    assert (snapshot(tree.root), hooks(front_end)) == (before, hooks_before)


def test_a_dry_run_needs_none_of_our_packages(system_wide: Tree) -> None:
    """Before the first installation there is only the system's Python, and no virtual environment is made."""
    tree, before = system_wide, snapshot(system_wide.root)
    for python in ("/usr/bin/python3", sys.executable):
        completed = tree.install("--dry-run", ONEBACKUP_PYTHON="", PYTHON=python)
        assert (completed.returncode, completed.stderr) == (0, "")
        assert "would run: " in completed.stdout and "-m venv" in completed.stdout
        assert "would install /usr/local/bin/onebackup" in completed.stdout
    assert snapshot(tree.root) == before


@pytest.mark.parametrize(
    "change, code, words",
    [
        ("no oned.conf", 3, "there is no OpenNebula front-end here: "),
        ("old", 3, "this front-end is OpenNebula 5.12.0; onebackup works with 6.0 and later"),
        ("relative", 2, "ONE_LOCATION is 'one'; it must be an absolute path"),
        ("driver", 2, "this release has no marketplace driver"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(system_wide: Tree, change: str, code: int, words: str) -> None:
    tree = system_wide
    if change == "no oned.conf":
        tree.path("etc/oned.conf").unlink()
    elif change == "old":
        tree.path("var/remotes/VERSION").write_text("5.12.0\n")
    elif change == "relative":
        tree.location = "one"
    for path in (tree.source / "remotes/market").rglob("*"):
        if path.is_file():
            path.unlink()
    before = snapshot(tree.root)
    completed = tree.install(*(["--enable-market-driver"] if change == "driver" else []))
    assert completed.returncode == code
    assert words in one_line(completed)
    assert snapshot(tree.root) == before


def test_without_oned_the_files_are_there_and_hooks_come_later(
    system_wide: Tree, fresh_front_end: process.FrontEnd
) -> None:
    tree, front_end = system_wide, fresh_front_end
    down = {**front_end.environment, "ONE_XMLRPC": "http://127.0.0.1:9/RPC2"}
    first = tree.install(**down)
    assert first.returncode == 4
    assert "hooks were not registered: cannot reach the front-end" in one_line(first)
    assert tree.path("/usr/local/bin/onebackup").is_file()
    assert tree.install("--uninstall", **down).returncode == 0  # there are none to remove

    assert tree.install(**front_end.environment).returncode == 0
    installed = snapshot(tree.root)
    refused = tree.install("--uninstall", **down)
    assert refused.returncode == 4
    assert "hooks cannot be removed, so nothing was" in one_line(refused)
    assert snapshot(tree.root) == installed
    assert tree.install("--uninstall", **front_end.environment).returncode == 0
    assert "onebackup_" not in hooks(front_end)


def test_the_marketplace_driver(system_wide: Tree) -> None:
    tree, oned_conf = system_wide, system_wide.path("etc/oned.conf")
    driver = tree.source / "remotes/market/onebackup"
    driver.mkdir(parents=True, exist_ok=True)
    (driver / "import").write_text("#!/usr/bin/env python3\nfrom onebackup_driver.market import main\n")
    before = oned_conf.read_bytes()

    plain = tree.install()
    assert 'ARGUMENTS = "... -m http,s3,one,linuxcontainers,onebackup"' in plain.stdout
    assert 'MARKET_MAD_CONF = [ NAME = "onebackup"' in plain.stdout
    assert oned_conf.read_bytes() == before
    assert tree.path("var/remotes/market/onebackup/import").read_text().startswith(f"#!{sys.executable} -I\n")

    enabled = tree.install("--enable-market-driver")
    assert "oned must be restarted" in enabled.stdout
    assert "@reboot /usr/local/bin/onebackup gateway" in enabled.stdout  # no systemd here
    assert oned_conf.read_text().startswith(front_end_tree.ONED_CONF.replace("containers", "containers,onebackup"))
    assert oned_conf.stat().st_mode & 0o777 == 0o640
    (copy,) = oned_conf.parent.glob("oned.conf.*.onebackup")
    assert copy.read_bytes() == before
    state = snapshot(tree.root)
    again = tree.install("--enable-market-driver")
    assert "unchanged /etc/one/oned.conf" in again.stdout
    assert not {"restarted", "gateway"} & set(tree.install().stdout.split())
    assert snapshot(tree.root) == state

    assert tree.install("--uninstall").returncode == 0
    assert oned_conf.read_bytes() == before
    assert not copy.exists()
