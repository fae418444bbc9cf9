# SPDX-License-Identifier: Apache-2.0
"""Names and texts of others: no path outside our directories, no line that is not one, no token in a message."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from onebackup_driver import errors, files, journal, logs, names, plain, queue, records, stored_file, template_text, vm
from onebackup_driver.repository.format import manifest as manifest_format
from onebackup_driver.repository.stores import directory
from sandbox.process import FrontEnd
from tests.conftest import HttpMarket
from tests.e2e import checks, machines
from tests.e2e.machines import Disk
from tests.e2e.site import Site
from tests.market.driving import Front

PATHS = ("../../etc/passwd", "/etc/passwd", "..", ".", "", "a/b", "a\0b", "~", "a" * 300, "\n", "-rf", "\udcff")
#: A second line of a log, a forged row, terminal sequences of both kinds, writing turned round, a title, a bell.
NASTY = "web\nERROR: all lost\r\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2028VM 7: done\x85\t|"
_ci = settings(derandomize=True, max_examples=200, deadline=None)


@pytest.mark.parametrize("name", PATHS, ids=ascii)
def test_no_name_leads_out_of_our_directories(tmp_path: Path, name: str) -> None:
    inside, before = tmp_path / "a" / "b", {tmp_path / "a"}
    inside.mkdir(parents=True)
    with pytest.raises(errors.Refused):
        journal.open_new(inside, name, "backup", 1, "web")
    with pytest.raises(errors.Error):
        manifest_format.check_name(name)
    store = directory.DirectoryStore(inside)
    for read in (store.get, store.size, store.delete):
        try:
            read(name)  # type: ignore[operator]
        except (errors.Error, ValueError, OSError):
            pass
    assert set(tmp_path.iterdir()) == before and list(inside.iterdir()) == []
    made = names.safe(name)
    assert "/" not in made and "\0" not in made and made, made


@given(st.text(max_size=300), st.text(max_size=60))
@_ci
def test_any_text_is_one_line(text: str, other: str) -> None:
    line = plain.line(f"VM 1 ({text}): {other}")
    assert len(line.splitlines()) == 1 and "\x1b" not in line and "\x9b" not in line and "\u202e" not in line
    assert json.loads(plain.document({"name": text})) == {"name": text}
    record = logging.LogRecord("onebackup", logging.ERROR, "", 0, "%s: %s", (text, other), None)
    assert len(logs._StockFormatter().format(record).splitlines()) == 1
    told = records.status(records.ERROR, text, 1, RUN=other)
    assert "]]>" not in told
    assert len(names.backup(text, "20261123_000000", "0" * 32).encode()) <= names.LIMIT_BYTES
    assert template_text.one_line(text).isprintable() or not text.isprintable()


def test_a_log_on_a_terminal_of_another_encoding(tmp_path: Path) -> None:
    code = "import sys; from onebackup_driver import logs, plain; plain.make_forgiving(sys.stdout, sys.stderr);"
    code += f"logs.set_up(True).error('%s', {ascii(NASTY + 'ü€😀')})"
    for encoding in ("ascii", "latin-1", "utf-8"):
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True
        )  # fmt: skip
        assert done.returncode == 0 and b"Traceback" not in done.stderr, done
        assert len(done.stdout.splitlines()) == 1, done.stdout


def test_commands_show_hostile_names_on_one_line(
    fresh_front_end: FrontEnd, tmp_path: Path, http_market_server: HttpMarket
) -> None:
    """oned takes some of these characters in names, and all of them in attributes."""
    site = Site(fresh_front_end, tmp_path / "site", http_market_server)
    name = "web\u202egnp\x9b31m\u2028VM 7"
    hostile = 'MODE="LIVE\u202e,\x9b2J\u2028"'
    vm_id = machines.machine(site, (Disk(),), machines.POWEROFF, name=name)
    section = f'FREQUENCY_SECONDS="1",{hostile}'
    bad = machines.machine(site, (Disk(),), machines.POWEROFF, name=f"{name}2", backup=section)
    checks.good(site.onebackup("backup", vm_id, "-v"))
    shown = [site.onebackup(*words) for words in (
        ("list",), ("list", "--json"), ("plan",), ("plan", "--json"), ("status",), ("run", "-v"), ("backup", str(bad)),
    )]  # fmt: skip
    for result in shown:
        text = result.out + result.err
        assert not set(text) & set("\x1b\x9b\u202e\u2028\x85\x07"), ascii(text)
    assert shown[0].out.count("\n") == 2, shown[0].out
    site.close()


def test_a_fifo_in_the_queue_keeps_nobody_waiting(tmp_path: Path) -> None:
    queue.add(tmp_path, 1, queue.NOW, "x")
    os.mkfifo(tmp_path / "waiting" / "vm-2.now.json")
    (tmp_path / "waiting" / "vm-3.now.json").mkdir()
    (tmp_path / "waiting" / "vm-4.now.json").symlink_to("/dev/zero")
    assert [request.vm_id for request in queue.take(tmp_path)] == [1]


def test_messages_name_no_token() -> None:
    url = "https://user:pw@10.0.0.1:2690/a-token-of-some-length/0123/20261123/disk.raw?x=1"
    assert stored_file.shown(url) == "https://10.0.0.1:2690/.../20261123/disk.raw"
    with pytest.raises(errors.Failed) as caught:
        stored_file.check_offered(url.replace("10.0.0.1", "127.0.0.1").replace("2690", "9").replace("https", "http"))
    assert "token" not in str(caught.value) and "pw@" not in str(caught.value)


def test_the_gateways_log_holds_no_token(tmp_path: Path) -> None:
    front, token = Front(tmp_path / "one"), tmp_path / "token"
    files.write(token, b"a-token-of-some-length\n")
    front.configure(gateway={"token_file": str(token), "port": 1})
    program = str(Path(sys.executable).with_name("onebackup"))
    argv, pipe = [program, "gateway", "-v", "--port", "0"], subprocess.PIPE
    process = subprocess.Popen(argv, env=front.environment, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().split()[1]
    headers = {"User-Agent": "a\tERROR: x", "Referer": "\x9b31m".encode("latin-1").decode("latin-1")}
    for path in ("/a-token-of-some-length/x/y", "/a-token-of-some-length/%0aERROR", "/%1b[2J"):
        assert requests.get(url + path, headers=headers, timeout=20).status_code in (200, 404)
    process.terminate()
    _, log = process.communicate(timeout=20)
    assert "GET" in log and "token-of" not in log and "ERROR" not in log and "\x1b" not in log, log


def test_a_vms_state_and_name_are_text_whatever_they_are() -> None:
    machine = vm.parse(vm.etree.fromstring(f"<VM><ID>1</ID><NAME>{'a' * 10_000}</NAME><STATE>99</STATE></VM>"))
    assert str(machine.state) and len(names.restored(machine.name, "0" * 32).encode()) <= names.LIMIT_BYTES


def test_what_we_write_is_for_its_owner_only(tmp_path: Path) -> None:
    """Whatever the umask says: journals name VMs, a traceback may hold a part of anything."""
    before = os.umask(0o022)
    try:
        state = tmp_path / "var" / "onebackup"
        journal.open_new(state / "journal", "a", "backup", 1, "web")
        queue.add(state / "queue", 1, queue.NOW, "x")
        with files.append(state / "hooks.log") as stream:
            stream.write(b"x")
        open_to_others = [path for path in (tmp_path / "var").rglob("*") if path.stat().st_mode & 0o077]
    finally:
        os.umask(before)
    assert open_to_others == [] and not state.stat().st_mode & 0o077
