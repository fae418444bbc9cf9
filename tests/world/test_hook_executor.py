# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import pytest

from sandbox.world import hook_executor

from .conftest import DATA, Script

DUMP = """
printf '%s\\n' "$@" > {out}/argv
cat > {out}/stdin
/usr/bin/env > {out}/environment
echo said; echo warned >&2
"""


def hook(
    script: Script, environment: Mapping[str, str], *arguments: str,
    command: str = "probe/dump", stdin: bool = False, timeout_s: Optional[float] = None,
) -> hook_executor.HookExecution:
    return hook_executor.run(command, arguments, stdin, script.remotes / "hooks", environment, timeout_s)


def api(version: str) -> str:
    return base64.b64encode((DATA / f"hook-api-{version}.xml").read_bytes()).decode()


def test_arguments_on_argv(tmp_path: Path, script: Script, environment: Mapping[str, str]) -> None:
    path = script.write("hooks/probe/dump", DUMP.replace("{out}", str(tmp_path)))
    arguments = hook_executor.expand_arguments("$API  literal $TEMPLATE", template="VEVNUA==", api=api("7.4"))
    done = hook(script, environment, *arguments)
    assert (done.return_code, done.stdout, done.stderr) == (0, "said\n", "warned\n")
    assert done.command == f"{path} {api('7.4')} literal VEVNUA=="
    assert (tmp_path / "argv").read_text().split("\n") == [api("7.4"), "literal", "VEVNUA==", ""]
    assert (tmp_path / "stdin").read_bytes() == b""
    assert f"ONE_XMLRPC={environment['ONE_XMLRPC']}\n" in (tmp_path / "environment").read_text()


def test_arguments_on_stdin_are_one_line_without_end(
    tmp_path: Path, script: Script, environment: Mapping[str, str]
) -> None:
    path = script.write("hooks/probe/dump", DUMP.replace("{out}", str(tmp_path)))
    large = "x" * 300_000  # more than argv could carry
    done = hook(script, environment, "literal", large, stdin=True)
    assert (done.return_code, done.command) == (0, str(path))
    assert (tmp_path / "argv").read_text() == "\n"
    assert (tmp_path / "stdin").read_text() == f"literal {large}"


def test_absolute_command_with_arguments_of_its_own(
    tmp_path: Path, script: Script, environment: Mapping[str, str]
) -> None:
    path = script.write("elsewhere/hook", DUMP.replace("{out}", str(tmp_path)))
    hook(script, environment, "last", command=f"{path} 'first one' second")
    assert (tmp_path / "argv").read_text() == "first one\nsecond\nlast\n"


def test_codes(script: Script, environment: Mapping[str, str]) -> None:
    script.write("hooks/probe/dump", "exit 7\n")
    script.write("hooks/probe/dies", "kill -9 $$\n")
    assert hook(script, environment).return_code == 7
    assert hook(script, environment, command="probe/dies").return_code == 255
    missing = hook(script, environment, command="probe/nosuch")
    assert (missing.return_code, missing.stdout) == (255, "")
    assert "No such file or directory" in missing.stderr
    assert hook(script, environment, "x" * 200_000).return_code == 255


def test_time_out_ends_the_whole_group(tmp_path: Path, script: Script, environment: Mapping[str, str]) -> None:
    trap = f"trap 'echo term > {tmp_path}/got; exit 0' TERM\n"
    script.write("hooks/probe/dump", f"{trap}sleep 60 & echo $! > {tmp_path}/child\nwait\n")
    began = time.monotonic()
    done = hook(script, environment, timeout_s=0.3)
    assert time.monotonic() - began < 5
    assert done.return_code == 255
    assert done.stderr.startswith("Timeout executing ")
    assert (tmp_path / "got").read_text() == "term\n"
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_hook_may_leave_a_daemon_behind(tmp_path: Path, script: Script, environment: Mapping[str, str]) -> None:
    script.write("hooks/probe/dump", f"sleep 60 & echo $! > {tmp_path}/child; echo done\n")
    began = time.monotonic()
    done = hook(script, environment)
    os.kill(int((tmp_path / "child").read_text()), 9)
    assert time.monotonic() - began < 5
    assert done.stdout == "done\n"


@pytest.mark.parametrize(
    ("text", "expected"), [("yes", True), ("YES", True), ("true", False), ("", False), (None, False)]
)
def test_only_yes_means_stdin(text: Optional[str], expected: bool) -> None:
    assert hook_executor.is_stdin(text) is expected
