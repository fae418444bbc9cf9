# SPDX-License-Identifier: Apache-2.0
"""The hook scripts as processes, called by hand: what they say, how they end, and how long they take."""

from __future__ import annotations

import base64
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import machines
from tests.e2e.conftest import site
from tests.e2e.site import Site
from tests.hooks.hooked import SCRIPTS
from tests.hooks.test_payload import RECORDED, call

__all__ = ["site"]

NAMES = ("vm_backup", "vm_done", "vm_poweroff", "vm_update")
#: Of the whole process. A machine that does other things too makes each run slow, so the quickest of three counts,
#: and how much it worked: the promise is a quarter of a second (docs/hooks.md).
LATEST_S, MOST_WORK_S = 2.0, 0.5


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str
    took_s: float
    worked_s: float


def run(name: str, environment: dict[str, str], stdin: bytes = b"", words: tuple[str, ...] = ()) -> Ran:
    began, worked_s = time.monotonic(), work_of_children_s()
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / name), *words], input=stdin, capture_output=True, env=environment, timeout=60
    )
    took_s = time.monotonic() - began
    assert b"Traceback" not in done.stdout + done.stderr, done.stderr.decode()
    worked_s = work_of_children_s() - worked_s
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode(), took_s, worked_s)


def work_of_children_s() -> float:
    """Processor time of all processes that were started and waited for; a worker that goes on alone is none of them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def encoded(text: str) -> bytes:
    return base64.b64encode(text.encode())


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """No front-end answers."""
    (tmp_path / "one_auth").write_text("oneadmin:x")
    return {
        "HOME": str(tmp_path),
        "ONE_LOCATION": str(tmp_path),
        "ONE_AUTH": str(tmp_path / "one_auth"),
        "ONE_XMLRPC": "http://127.0.0.1:9/RPC2",
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stdin", [b"", b"\xff\x00\xfe", b"not base64!", encoded("plain"), b"x" * 100_000])
def test_without_a_payload_one_line_and_code_2(name: str, stdin: bytes, nowhere: dict[str, str]) -> None:
    ran = run(name, nowhere, stdin)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"ERROR: onebackup {name}: no payload")
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_payload_on_argv_is_taken_too(name: str, nowhere: dict[str, str]) -> None:
    text = "<VM><ID>x</ID></VM>" if name in ("vm_done", "vm_poweroff") else call(1).text
    ran = run(name, nowhere, words=("a literal", encoded(text).decode()))
    assert (ran.code, ran.err) == (0, ""), ran
    assert ran.out.startswith(f"onebackup {name}: ")


@pytest.mark.parametrize("name", NAMES)
def test_any_recorded_payload_is_survived(name: str, nowhere: dict[str, str]) -> None:
    """Also one that is meant for another hook; without a front-end it ends with one line."""
    for folder in RECORDED:
        words = tuple((folder / "argv").read_text().splitlines()[1:])
        ran = run(name, nowhere, (folder / "stdin").read_bytes(), words)
        if ran.code == 0:
            assert ran.err == ""
        else:
            assert ran.err.startswith(f"ERROR: onebackup {name}: cannot reach the front-end at http://127.0.0.1:9/RPC2")
        assert len((ran.out + ran.err).splitlines()) == 1


def test_a_front_end_that_does_not_answer_does_not_hold_the_hook(nowhere: dict[str, str]) -> None:
    text = call(1, ("5", 'BACKUP=[ACTION="NOW"]', "1"), ("true", "5", "0")).text
    runs = [run("vm_update", nowhere, encoded(text)) for _ in range(3)]
    assert [ran.code for ran in runs] == [3, 3, 3]
    assert min(ran.took_s for ran in runs) < LATEST_S, "no patience: the timer takes what a hook misses"


def test_a_bad_configuration_is_named(nowhere: dict[str, str]) -> None:
    etc = Path(nowhere["ONE_LOCATION"]) / "etc"
    etc.mkdir()
    (etc / "onebackup.yaml").write_text("terminated_vms: burn\n")
    ran = run("vm_done", nowhere, encoded("<VM><ID>5</ID></VM>"))
    assert (ran.code, ran.out) == (2, "")
    assert "onebackup.yaml line 1: terminated_vms must be keep, keep N days or delete, not 'burn'" in ran.err


def test_a_bug_is_one_line_and_its_traceback_is_kept(nowhere: dict[str, str], tmp_path: Path) -> None:
    """The package is broken on purpose: a module that hooks need is not what it should be."""
    broken = tmp_path / "broken" / "yaml"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('broken on purpose')\n")
    (tmp_path / "var" / "onebackup").mkdir(parents=True)
    environment = {**nowhere, "PYTHONPATH": str(broken.parent)}
    ran = run("vm_done", environment, encoded("<VM><ID>5</ID></VM>"))
    assert (ran.code, ran.out) == (70, "")
    assert ran.err == (
        "ERROR: onebackup vm_done: a bug: RuntimeError('broken on purpose');"
        f" the traceback is in {tmp_path / 'var' / 'onebackup' / 'hooks.log'}\n"
    )
    assert "Traceback" in (tmp_path / "var" / "onebackup" / "hooks.log").read_text()


def test_how_long_a_hook_takes(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole process, from the start of Python to its end, with the worker started where there is one to start."""
    vm_id = machines.machine(site, state=machines.HOLD)  # its backup is refused at once: only the hook is measured
    section = f'BACKUP=[FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{site.market}"'
    site.call("one.vm.update", vm_id, f"{section}]", 1)
    xml = site.call("one.vm.info", vm_id)
    good = ("true", str(vm_id), "0")
    now = section + ',ACTION="NOW"]'
    cases = {
        "vm_update, nothing of ours": ("vm_update", call(1, (str(vm_id), 'LABELS="a"', "1"), good).text),
        "vm_update, verdict": ("vm_update", call(1, (str(vm_id), section + "]", "1"), good).text),
        "vm_update, ACTION=NOW queued": ("vm_update", call(1, (str(vm_id), now, "1"), good).text),
        "vm_poweroff, looked at": ("vm_poweroff", xml),
        "vm_done, keep": ("vm_done", xml),
        "vm_backup, queued": ("vm_backup", call(0, (str(vm_id), "-1", "0"), ("false", "no", "2048", "-1")).text),
    }
    lines = []
    for title, (name, text) in cases.items():
        runs = []
        for _ in range(3):
            if "NOW" in title:
                site.call("one.vm.update", vm_id, now, 1)
            ran = run(name, site.environment, encoded(text))
            assert ran.code == 0, ran
            runs.append(ran)
        quickest, work = min(ran.took_s for ran in runs), min(ran.worked_s for ran in runs)
        lines.append(f"{title:<32} quickest {quickest:.3f} s, processor {work:.3f} s")
        assert quickest < LATEST_S and work < MOST_WORK_S, lines[-1]
    with capsys.disabled():
        print("\nlatency of hooks, whole process:\n  " + "\n  ".join(lines))
