# SPDX-License-Identifier: Apache-2.0
"""The demonstration as a whole: it proves a good restore and nothing else."""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sandbox.demo import depot, keeper, story

ROOT = Path(__file__).resolve().parents[2]


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox.demo", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
    )


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def test_a_proven_restore_and_a_sandbox_that_is_kept(tmp_path: Path) -> None:
    completed = demo(tmp_path, "--keep", "--version", "6.4")
    try:
        assert completed.returncode == 0, completed.stdout + completed.stderr
        assert completed.stderr == ""
        assert "VM was down for" in completed.stdout
        (proved,) = [line for line in completed.stdout.splitlines() if line.startswith("PROVED: ")]
        assert "each of the 2 disks of VM 0 came back byte for byte as VM 1" in proved
        share = re.search(r"the second day took (\d+)% of the space of the first", proved)
        assert share is not None and int(share[1]) < 20
        place = json.loads((tmp_path / ".demo" / "ready.json").read_text())
        assert f"export ONE_XMLRPC={place['endpoint']}" in completed.stdout
        assert answers(place["endpoint"]) and answers(place["gateway"])
    finally:
        stopped = demo(tmp_path, "--stop")
    assert (stopped.returncode, stopped.stdout) == (0, "stopped the kept sandbox\n")
    assert not answers(place["endpoint"]) and not answers(place["gateway"])
    assert demo(tmp_path, "--stop").stdout == "no sandbox is running here\n"


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_running(tmp_path: Path, number: int, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a shell's background jobs
    )
    assert process.stdout is not None
    while "Powering off VM" not in process.stdout.readline():  # in the middle of the backup
        pass
    endpoint = json.loads((tmp_path / ".demo" / "ready.json").read_text())["endpoint"]
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert keeper.running_pid(tmp_path / ".demo") is None
    assert not answers(endpoint)
    assert list((tmp_path / ".demo").glob("one/datastores/0/*/guest.pid")) != []  # there was a guest …
    assert [path for path in running_guests() if path.startswith(str(tmp_path))] == []  # … and it has ended


def running_guests() -> list[str]:
    """The directories of all guests that run on this machine."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = command.read_text().split("\0")
        except OSError:
            continue
        if "sandbox.world.guest_process" in words:
            found += [word for word in words if word.startswith("/")]
    return found


def use_command(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Have the story run a command of the test's own for onebackup; `$real` is the real one."""
    liar = folder / "onebackup"
    liar.write_text(f"#!/bin/sh\nreal={depot.command()}\n{script}\n")
    liar.chmod(0o755)
    monkeypatch.setattr(depot, "command", lambda: liar)


# Changes a byte of every image that the restore has made: no other is left by then.
DAMAGE = """
"$real" "$@" || exit
[ "$1" = restore ] || exit 0
for image in $(find "$ONE_LOCATION/datastores/1" -type f); do
    printf X | dd of="$image" bs=1 seek=9000000 conv=notrunc 2>/dev/null
done
"""


@pytest.mark.parametrize(
    "script, words",
    [
        ("exit 0", "VM has no USER_TEMPLATE/BACKUP/MARKETPLACE_APP_IDS"),
        ("exit 3", "onebackup repository ended with exit code 3"),
        ('[ "$1" = restore ] || exec "$real" "$@"', "the last line of the restore is not 'ID: <new VM>'"),
        (DAMAGE, "differs from what was on it when it was saved"),
        ('[ "$1" = backup ] && exec "$real" "$@" --mode SUSPEND; exec "$real" "$@"', "not one clean state"),
    ],
)
def test_anything_less_is_not_proven(
    script: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    use_command(monkeypatch, tmp_path, script)
    assert story.tell(tmp_path / "state", "7.4", keep=False) == 1
    output = capfd.readouterr().out
    assert output.splitlines()[-1].startswith("NOT PROVED: ")
    assert words in output.splitlines()[-1]
    assert keeper.running_pid(tmp_path / "state") is None
