# SPDX-License-Identifier: Apache-2.0
"""`onebackup doctor` on an installed front-end, with things broken one by one."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from onebackup_driver import commands, frontend, journal, locks
from onebackup_driver.doctor import examination, front_end, machine
from onebackup_driver.doctor.finding import OK, PROBLEM, SKIPPED, Finding
from sandbox import process
from tests.conftest import HttpMarket
from tests.install import front_end_tree
from tests.install.front_end_tree import Tree

Doctor = Callable[[], dict[str, Finding]]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[process.FrontEnd, Tree]]:
    """A front-end with onebackup installed below ONE_LOCATION, by install.sh."""
    folder = tmp_path_factory.mktemp("doctor")
    source = front_end_tree.copy_source(folder / "source")
    tree = Tree(folder / "root", "/srv/one", source)
    front_end_tree.make(tree, "7.4.0", "/srv/one/var/remotes/hooks")
    tree.path("/etc/cron.d").mkdir(parents=True)
    with process.start(folder / "state", "7.4", speed=20) as running:
        tree.environment.update(running.environment)
        completed = tree.install()
        assert completed.returncode == 0, completed.stderr
        yield running, tree


@pytest.fixture
def market(healthy: tuple[process.FrontEnd, Tree], http_market_server: HttpMarket) -> Iterator[int]:
    running = healthy[0]
    market_id = make_market(running, "backups", http_market_server.url, http_market_server.public_dir)
    yield market_id
    running.call("one.market.delete", market_id)


def make_market(running: process.FrontEnd, name: str, url: str, folder: Path) -> int:
    template = f'NAME="{name}" MARKET_MAD="http" BASE_URL="{url}/" PUBLIC_DIR="{folder}"'
    return int(running.call("one.market.allocate", template))


@pytest.fixture
def doctor(healthy: tuple[process.FrontEnd, Tree], monkeypatch: pytest.MonkeyPatch, market: int) -> Doctor:
    """What the doctor finds, by name. DESTDIR is for the installed files; the rest lies below ONE_LOCATION."""
    for name, value in healthy[1].variables.items():
        monkeypatch.setenv(name, value)
    return lambda: {item.name: item for item in examination.everything(hook_timeout_s=10)}


def hooks(running: process.FrontEnd) -> str:
    return str(running.call("one.hookpool.info", -2, -1, -1))


def not_ok(found: dict[str, Finding]) -> dict[str, str]:
    return {name: item.state for name, item in found.items() if item.state != OK}


def test_all_is_well_and_nothing_is_left_behind(
    doctor: Doctor, healthy: tuple[process.FrontEnd, Tree], market: int
) -> None:
    running, tree = healthy
    before, state = hooks(running), front_end_tree.snapshot(tree.root)
    found = doctor()
    assert not_ok(found) == {}
    assert found["API"].text == f"{running.endpoint} answers, OpenNebula 7.4.0"
    assert "answered a hook event within" in found["hook manager"].text
    assert f"marketplace {market}" in found
    assert hooks(running) == before
    assert front_end_tree.snapshot(tree.root) == state


def test_as_a_command_and_through_install_sh(healthy: tuple[process.FrontEnd, Tree], market: int) -> None:
    tree = healthy[1]
    well = tree.install("--check")
    assert (well.returncode, well.stderr) == (0, "")
    assert all(line.startswith("ok ") for line in well.stdout.splitlines())
    command = [Path(f"{tree.root}{tree.location}/bin/onebackup"), "doctor", "--json"]
    ill = subprocess.run(
        command,
        env={**os.environ, **tree.variables, "ONE_XMLRPC": "http://127.0.0.1:9/RPC2"},
        capture_output=True,
        text=True,
    )
    assert (ill.returncode, ill.stderr) == (4, "")
    found = {item["name"]: item for item in json.loads(ill.stdout)}
    assert found["API"]["state"] == PROBLEM and "cannot reach the front-end" in found["API"]["text"]
    assert found["API"]["fix"]
    for name in ("session", "clock", "hooks", "hook manager", "marketplaces", "leftovers"):
        assert found[name]["state"] == SKIPPED
    for name in ("installation", "configuration", "hook scripts", "timer", "qemu-img", "state directory", "versions"):
        assert found[name]["state"] == OK, found[name]


def test_not_installed(tmp_path: Path) -> None:
    source = front_end_tree.copy_source(tmp_path / "source")
    tree = front_end_tree.make(Tree(tmp_path / "root", "", source), "7.4.0")
    completed = tree.install("--check", ONEBACKUP_PYTHON="")
    assert (completed.returncode, completed.stdout) == (4, "")
    assert "onebackup is not installed here; run: sudo ./install.sh" in front_end_tree.one_line(completed)


def edited(path: Path, content: bytes) -> Callable[[], None]:
    """Overwrite a file; what is returned puts it back."""
    before, mode = path.read_bytes(), path.stat().st_mode
    path.write_bytes(content)

    def back() -> None:
        path.write_bytes(before)
        path.chmod(mode)

    return back


@pytest.mark.parametrize(
    "name, content, broken, words",
    [
        ("etc/onebackup.yaml", b"verify: never\n", {"configuration"}, "line 1: verify must be one of length, checksum"),
        ("share/backup_vms", b"#!/bin/sh\n", {"installation"}, "/srv/one/share/backup_vms is not as it was installed"),
        (
            "var/remotes/hooks/onebackup/vm_done",
            b"#!/nowhere/python -I\n",
            {"hook scripts", "installation"},
            "vm_done does not start: cannot start /nowhere/python: No such file",
        ),
    ],
)
def test_a_file_that_is_not_as_it_should_be(
    doctor: Doctor, healthy: tuple[process.FrontEnd, Tree], name: str, content: bytes, broken: set[str], words: str
) -> None:
    back = edited(healthy[1].path(name), content)
    try:
        found = doctor()
    finally:
        back()
    assert not_ok(found) == dict.fromkeys(broken, PROBLEM)
    assert words in found[min(broken)].text


def test_an_edited_configuration_is_well(doctor: Doctor, healthy: tuple[process.FrontEnd, Tree]) -> None:
    back = edited(healthy[1].path("etc/onebackup.yaml"), b"verify: length\n")
    try:
        assert not_ok(doctor()) == {}
    finally:
        back()


def test_scripts_that_cannot_be_executed_or_are_gone(doctor: Doctor, healthy: tuple[process.FrontEnd, Tree]) -> None:
    script = healthy[1].path("var/remotes/hooks/onebackup/vm_update")
    script.chmod(0o644)
    try:
        assert "vm_update is not executable" in doctor()["hook scripts"].text
    finally:
        script.chmod(0o755)
    folder = script.parent
    folder.rename(folder.with_name("away"))
    try:
        found = doctor()
    finally:
        folder.with_name("away").rename(folder)
    assert not_ok(found) == {"hook scripts": PROBLEM, "installation": PROBLEM}
    assert "vm_update is missing" in found["installation"].text


def test_hooks_missing_or_changed(doctor: Doctor, healthy: tuple[process.FrontEnd, Tree]) -> None:
    running, tree = healthy
    first = int(hooks(running).split("<NAME>onebackup_vm_done")[0].rsplit("<ID>", 1)[1].split("<")[0])
    running.call("one.hook.delete", first)
    try:
        found = doctor()
        assert not_ok(found) == {"hooks": PROBLEM}
        assert found["hooks"].text == "onebackup_vm_done is missing"
        assert found["hooks"].fix == "sudo ./install.sh"
    finally:
        assert tree.install().returncode == 0
    assert not_ok(doctor()) == {}


def test_a_hook_manager_that_does_not_answer(
    healthy: tuple[process.FrontEnd, Tree], monkeypatch: pytest.MonkeyPatch, market: int
) -> None:
    """All its slots are taken by hooks that sleep. The probe goes all the same; that of a killed doctor too."""
    running, tree = healthy
    sleeper = int(
        running.call("one.hook.allocate", 'NAME="z" TYPE="api" CALL="one.user.update" COMMAND="/bin/sleep 4"')
    )
    stale = 'NAME="onebackup-doctor-1700000000-1" TYPE="api" CALL="one.hook.rename" COMMAND="/bin/true"'
    running.call("one.hook.allocate", stale)
    for name, value in tree.variables.items():
        monkeypatch.setenv(name, value)
    for turn in range(10):
        with pytest.raises(process.Refused):
            running.call("one.user.update", 999, f'X="{turn}"', 1)  # a hook fires after a failed call too
    try:
        found = {item.name: item for item in examination.everything(hook_timeout_s=1)}
        assert not_ok(found) == {"hook manager": PROBLEM}
        assert found["hook manager"].text == "a hook event was not answered within 1 s"
        assert "onebackup-doctor" not in hooks(running)
    finally:
        running.call("one.hook.delete", sleeper)


def test_sessions_that_do_not_do(
    doctor: Doctor,
    healthy: tuple[process.FrontEnd, Tree],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    running = healthy[0]
    one_auth = tmp_path / "one_auth"
    monkeypatch.setenv("ONE_AUTH", str(one_auth))
    assert "cannot read the OpenNebula session" in doctor()["API"].text

    one_auth.write_text("oneadmin:wrong\n")
    one_auth.chmod(0o600)
    found = doctor()
    assert found["API"].state == PROBLEM and "oneuser passwd" in found["API"].fix
    assert found["hooks"].state == SKIPPED

    user = running.call("one.user.allocate", "somebody", "secret", "core")
    one_auth.write_text("somebody:secret\n")
    one_auth.chmod(0o644)
    try:
        found = doctor()
    finally:
        running.call("one.user.delete", user)
    assert "user somebody is not in the group oneadmin" in found["session"].text
    assert "can be read by others" in found["session file"].text


def test_the_timer(doctor: Doctor, healthy: tuple[process.FrontEnd, Tree]) -> None:
    tree = healthy[1]
    assert doctor()["timer"].text == "cron, /etc/cron.d/onebackup, has not run yet"
    directory = tree.path("var/onebackup/locks")
    with locks.timer(directory):
        pass
    assert ", last run 2" in doctor()["timer"].text

    note = json.loads((directory / "timer.lock").read_text())
    (directory / "timer.lock").write_text(json.dumps({**note, "since": note["since"] - 27 * 3600}))
    late = doctor()["timer"]
    assert (late.state, late.fix) == (PROBLEM, "start one by hand and see: onebackup run -v")
    (directory / "timer.lock").unlink()

    cron = tree.path("/etc/cron.d/onebackup")
    away = cron.rename(cron.with_name("away"))
    try:
        assert doctor()["timer"].text == "/etc/cron.d/onebackup is missing"
    finally:
        away.rename(cron)


def test_a_run_that_died(doctor: Doctor, healthy: tuple[process.FrontEnd, Tree]) -> None:
    state = healthy[1].path("var/onebackup")
    book = journal.open_new(state / "journal", "0d2a", "backup", 4711, "gone")
    book.begin("image", image_id=17)
    found = doctor()
    assert not_ok(found) == {"leftovers": PROBLEM}
    assert "VM 4711: would undo a backup of a process that died: image" in found["leftovers"].text
    assert found["leftovers"].fix == "onebackup recover"
    with locks.vm(state / "locks", 4711, "being backed up"):
        assert not_ok(doctor()) == {}  # it goes on
    book.close("undone")


def test_marketplaces(doctor: Doctor, healthy: tuple[process.FrontEnd, Tree], market: int, tmp_path: Path) -> None:
    running, tree = healthy
    gone = make_market(running, "gone", "http://127.0.0.1:9", tmp_path)
    keys = 'ACCESS_KEY_ID="k" SECRET_ACCESS_KEY="s" BUCKET="b" REGION="default" ENDPOINT="http://127.0.0.1:9"'
    s3 = int(running.call("one.market.allocate", f'NAME="s3" MARKET_MAD="s3" {keys} TYPE="s3"'))
    try:
        found = doctor()
        back = edited(tree.path("etc/onebackup.yaml"), f"allowed_marketplaces: [{market}, 0, 4711]\n".encode())
        allowed = doctor()
        back()
    finally:
        running.call("one.market.delete", gone)
        running.call("one.market.delete", s3)
    assert not_ok(found) == {f"marketplace {gone}": PROBLEM, f"marketplace {s3}": PROBLEM}
    assert "gone (http): BASE_URL http://127.0.0.1:9/ does not answer" in found[f"marketplace {gone}"].text
    assert "the bucket 'b' does not answer" in found[f"marketplace {s3}"].text
    assert not_ok(allowed) == {"marketplace 0": PROBLEM, "marketplace 4711": PROBLEM}


def test_a_gateway_that_does_not_answer(
    doctor: Doctor, healthy: tuple[process.FrontEnd, Tree], tmp_path: Path
) -> None:
    running, tree = healthy
    (running.state / "remotes" / "market" / "onebackup").mkdir(parents=True)
    place = f"dir:{tmp_path / 'repository'}"
    command = [Path(f"{tree.root}{tree.location}/bin/onebackup")]
    environment = {**os.environ, **tree.variables, "ONEBACKUP_CONFIG": str(tree.path("etc/onebackup.yaml"))}
    text = f'NAME="deduplicated" MARKET_MAD="onebackup" REPOSITORY="{place}"'
    ours = int(running.call("one.market.allocate", text))
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    back = edited(tree.path("etc/onebackup.yaml"), f"gateway: {{port: {port}}}\n".encode())
    gateway = None
    try:
        missing = doctor()
        made = subprocess.run([*command, "repository", "create", place], env=environment, capture_output=True)
        assert made.returncode == 0, made.stderr
        silent = doctor()
        gateway = subprocess.Popen([*command, "gateway"], env=environment, stdout=subprocess.PIPE, text=True)
        assert gateway.stdout is not None and gateway.stdout.readline() == f"ready http://127.0.0.1:{port}\n"
        assert not_ok(doctor()) == {}
    finally:
        if gateway is not None:
            gateway.terminate()
            gateway.communicate(timeout=20)
        back()
        running.call("one.market.delete", ours)
    assert not_ok(missing) == {f"marketplace {ours}": PROBLEM, "gateway": PROBLEM}
    assert "there is no repository at" in missing[f"marketplace {ours}"].text
    assert not_ok(silent) == {"gateway": PROBLEM}
    assert f"the gateway http://127.0.0.1:{port} does not answer" in silent["gateway"].text
    assert f"ONE_LOCATION={tree.location} {tree.location}/bin/onebackup gateway (as " in silent["gateway"].fix


def test_no_marketplace_at_all(doctor: Doctor, healthy: tuple[process.FrontEnd, Tree]) -> None:
    back = edited(healthy[1].path("etc/onebackup.yaml"), b"allowed_marketplace_types: [onebackup]\n")
    try:
        assert doctor()["marketplaces"].fix == "onemarket create"
    finally:
        back()


def test_no_prlimit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert machine.limits().state == OK
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.limits()
    assert found.state == PROBLEM and found.fix == "apt-get install util-linux"
    assert "no image can be backed up into marketplaces of the driver onebackup" in found.text
    with pytest.raises(commands.CommandFailed, match="prlimit .of util-linux., without which qemu-img is not run"):
        commands.run_limited(["qemu-img", "--version"], 5, 10**9, 1000)


def test_no_qemu_img(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install qemu-utils" in machine.qemu_img().fix
    program = tmp_path / "qemu-img"
    program.write_text("#!/bin/sh\necho 'libaio.so: not found' >&2\nexit 127\n")
    program.chmod(0o755)
    assert "fails: libaio.so: not found" in machine.qemu_img().text


def test_no_place_for_journals(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a file\n")
    found = machine.state_directory(tmp_path / "one" / "onebackup", "oneadmin")
    assert found.state == PROBLEM and "cannot be written to" in found.text


@pytest.mark.parametrize("apart_s, state", [(0, OK), (-3600, PROBLEM), (3600, PROBLEM)])
def test_clocks_that_differ(apart_s: int, state: str) -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response_only(200)
            self.send_header("Date", formatdate(time.time() + apart_s, usegmt=True))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        found = front_end.same_time(frontend.FrontEnd(f"http://127.0.0.1:{server.server_port}/RPC2", "a:b"))
    assert found.state == state
