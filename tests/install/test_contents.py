# SPDX-License-Identifier: Apache-2.0
"""Scripts with the interpreter they are given, the completion, and files that survive an installation that dies."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onebackup_driver.cli import main
from onebackup_driver.installation import completion, contents, gateway_service, locating, placing, receipt, schedule
from onebackup_driver.installation import main as installer
from tests.install import front_end_tree
from tests.install.front_end_tree import Tree

SCRIPT = b"#!/usr/bin/env python3\n# a comment\nimport sys\n\nprint(sys.flags.isolated, sys.argv[1:])\n"


@pytest.mark.parametrize("folder", ["plain", "with a space", "with 'quotes'", "/".join(["long" * 10] * 6)])
def test_a_script_runs_with_its_interpreter_wherever_that_lies(tmp_path: Path, folder: str) -> None:
    python = tmp_path / folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    script = tmp_path / "script"
    script.write_bytes(contents.script(SCRIPT, str(python)))
    script.chmod(0o755)
    done = subprocess.run([script, "a b", "$c"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("1 ['a b', '$c']\n", "")


def test_only_an_interpreter_line_is_changed() -> None:
    for content in (b"KEY = 1\n", b"#!/bin/sh\nexit 0\n", b"\n#!/usr/bin/env python3\n"):
        assert contents.script(content, "/opt/python") == content


@pytest.fixture
def complete(tmp_path: Path) -> Iterator[object]:
    """What bash offers for a line with the cursor at its end."""
    script = tmp_path / "onebackup.bash"
    script.write_text(completion.render(main.parser()))

    def offered(*words: str) -> set[str]:
        line = (
            f"source {script}; COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1};"
            ' _onebackup; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-uc", line], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return set(done.stdout.split())

    yield offered


def test_every_command_and_option_is_completed(complete: object) -> None:
    assert callable(complete)
    commands = completion.subcommands(main.parser())
    assert {"backup", "restore", "list", "run", "plan", "status", "recover", "doctor"} <= set(commands)
    assert "work" not in commands  # not for people
    assert complete("onebackup", "") == {*commands, "-h", "--help", "--version"}
    for name, command in commands.items():
        assert complete("onebackup", name, "-") == options(command)
    assert complete("onebackup", "restore", "--no") == {"--no-start", "--no-ip", "--no-nic", "--no-wait"}
    assert complete("onebackup", "backup", "--logger", "") == set()  # a file: bash's own completion does it


def options(command: argparse.ArgumentParser) -> set[str]:
    return {name for action in command._actions if action.help != argparse.SUPPRESS for name in action.option_strings}


def test_shellcheck_has_nothing_to_say_about_the_completion(tmp_path: Path) -> None:
    (tmp_path / "onebackup.bash").write_text("#!/bin/bash\n" + completion.render(main.parser()))
    done = subprocess.run(["shellcheck", tmp_path / "onebackup.bash"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.fixture
def place(tmp_path: Path) -> locating.Place:
    tree = front_end_tree.make(Tree(tmp_path / "root", "", tmp_path), "6.4.0")
    return locating.find(tree.variables)


@pytest.mark.parametrize("dies_at", ["os.replace aside", "os.replace into place", "after"])
def test_what_was_there_comes_back_also_when_the_installation_died(
    place: locating.Place, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    path = contents.backup_vms(place)
    known = receipt.Receipt()
    placer = placing.Placer(place, known, dry_run=False)
    placer.make_directory(place.home, 0o755)
    placer.save()
    if dies_at != "after":
        _die(monkeypatch, path.name + (".stock" if "aside" in dies_at else ""))
    try:
        placer.put(placing.Item(path, b"ours, of onebackup_driver\n", 0o755))
    except KeyboardInterrupt:
        monkeypatch.undo()

    again = receipt.load(place.real(place.home))  # what a new process knows
    placer = placing.Placer(place, again, dry_run=False)
    for name in list(again.files):
        placer.remove(Path(name))
    placer.bring_back()
    folder = place.real(path).parent
    assert [item.name for item in folder.iterdir()] == ["backup_vms"]
    assert place.real(path).read_bytes() == front_end_tree.STOCK_BACKUP_VMS


def _die(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Be interrupted just before a file gets the name."""
    replace = placing.os.replace

    def interrupted(source: object, target: object) -> None:
        if str(target).endswith(f"/{name}"):
            raise KeyboardInterrupt
        replace(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(placing.os, "replace", interrupted)


def test_nothing_is_written_through_a_link(place: locating.Place, tmp_path: Path) -> None:
    """The hook directory belongs to oneadmin, and root installs."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    link = place.real(place.hook_base / "onebackup" / "vm_done")
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    placer = placing.Placer(place, receipt.Receipt(), dry_run=False)
    placer.make_directory(place.home, 0o755)
    placer.put(placing.Item(place.hook_base / "onebackup" / "vm_done", b"#!/bin/sh\n", 0o755))
    assert victim.read_text() == "precious"
    assert not link.is_symlink() and link.read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize(
    "line, base",
    [
        (":hook_base_path: '/srv/hooks'", "/srv/hooks"),
        (':hook_base_path: "/srv/my hooks" # ours', "/srv/my hooks"),
        ("  :hook_base_path:   /srv/hooks", "/srv/hooks"),
        ("#:hook_base_path: '/no'\n:remote_hook_base_path: '/var/tmp/one/hooks'", "/var/lib/one/remotes/hooks"),
    ],
)
def test_the_hook_base_path_is_the_hook_managers(tmp_path: Path, line: str, base: str) -> None:
    tree = front_end_tree.make(Tree(tmp_path / "root", "/opt/one", tmp_path), "7.4.0")
    tree.path("etc/onehem-server.conf").write_text(f"---\n{line}\n:concurrency: 10\n")
    assert locating.find(tree.variables).hook_base == Path(base)


def test_the_version_comes_from_onevm_when_no_file_has_it(tmp_path: Path) -> None:
    tree = front_end_tree.make(Tree(Path(), str(tmp_path / "one"), tmp_path), "7.4.0")
    tree.path("var/remotes/VERSION").unlink()
    assert locating.find(tree.variables).version == ""
    onevm = Path(tree.location, "bin", "onevm")
    onevm.parent.mkdir()
    onevm.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "OpenNebula 6.10.3"\n')
    onevm.chmod(0o755)
    assert locating.find(tree.variables).version == "6.10.3"


def test_a_python_that_oneadmin_cannot_come_to_is_told(tmp_path: Path) -> None:
    """Root's own Python may lie in root's home."""
    home = tmp_path / "home"
    program = home / "bin" / "python3"
    program.parent.mkdir(parents=True)
    program.touch()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o777 == 0o700:
            folder.chmod(0o755)  # pytest's own
    owner = home.stat()
    others = locating.User("oneadmin", 64001, 64001)
    for mode, user, may in [
        (0o755, others, True),
        (0o700, others, False),
        (0o750, locating.User("staff", 64001, owner.st_gid), True),
        (0o700, locating.User("root", 0, 0), True),
    ]:
        home.chmod(mode)
        assert locating.may_use(user, program) is may


def test_a_systemd_timer_is_started_once_and_made_up_for_when_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = front_end_tree.make(Tree(Path(), str(tmp_path / "one"), tmp_path), "7.4.0", str(tmp_path / "hooks"))
    for name, value in {**tree.variables, "ONE_XMLRPC": "http://127.0.0.1:9/RPC2"}.items():
        monkeypatch.setenv(name, value)
    calls = _systemctl(tmp_path / "commands", monkeypatch)
    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setattr(schedule, "UNITS", units)
    monkeypatch.setattr(schedule, "choose", lambda _: schedule.SYSTEMD)
    source = ["--source", str(front_end_tree.ROOT), "--python", sys.executable]
    enable, disable = "enable --now onebackup.timer", "disable --now onebackup.timer"

    def run(*options: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["install.sh", *source, *options])
        calls.write_text("")
        assert installer.main() in (0, 4)  # no front-end answers
        return calls.read_text().splitlines()

    (tmp_path / "fails").touch()
    assert run() == ["daemon-reload"]
    (tmp_path / "fails").unlink()
    assert run() == ["daemon-reload", enable]
    assert run() == []
    assert f"Environment=ONE_LOCATION={tree.location}\n" in (units / "onebackup.service").read_text()
    (units / "onebackup.timer").unlink()
    assert run() == ["daemon-reload", enable]
    assert run("--uninstall") == [disable, "daemon-reload"]
    assert list(units.iterdir()) == []


def test_the_gateway_runs_where_oned_knows_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = front_end_tree.make(Tree(Path(), str(tmp_path / "one"), tmp_path), "7.4.0", str(tmp_path / "hooks"))
    for name, value in {**tree.variables, "ONE_XMLRPC": "http://127.0.0.1:9/RPC2"}.items():
        monkeypatch.setenv(name, value)
    calls = _systemctl(tmp_path / "commands", monkeypatch)
    units = tmp_path / "units"
    monkeypatch.setattr(schedule, "UNITS", units)
    monkeypatch.setattr(schedule, "choose", lambda _: schedule.SYSTEMD)
    code = iter(["one", "one", "one", "two", "two"])
    monkeypatch.setattr(gateway_service, "fingerprint", lambda _: next(code))
    enable, unit = "enable --now onebackup-gateway", units / "onebackup-gateway.service"

    def run(*options: str) -> list[str]:
        source = ["--source", str(front_end_tree.ROOT), "--python", sys.executable]
        monkeypatch.setattr(sys, "argv", ["install.sh", *source, "--no-timer", *options])
        calls.write_text("")
        assert installer.main() in (0, 4)  # no front-end answers
        return [line for line in calls.read_text().splitlines() if line != "daemon-reload"]

    assert run() == [] and not unit.exists()
    (tmp_path / "fails").touch()
    assert run("--enable-market-driver") == [] and "daemon-reload failed" in capsys.readouterr().err
    (tmp_path / "fails").unlink()
    assert run() == [enable] and unit.exists()
    assert "started onebackup-gateway, now and at each boot" in capsys.readouterr().out
    assert run() == []
    assert run() == ["try-restart onebackup-gateway"]  # of another release
    assert run("--uninstall") == ["disable --now onebackup-gateway"] and not unit.exists()


def _systemctl(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that notes how it was called, and fails while there is a file `fails` beside its folder."""
    folder.mkdir()
    calls = folder / "calls"
    program = folder / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$*" >>{calls}\n[ ! -e {folder.parent}/fails ]\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return calls
