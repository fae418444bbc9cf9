# SPDX-License-Identifier: Apache-2.0
"""No shell is ever given anything of others: Python starts programs with lists, and install.sh, the one shell script,
never lets a text become code."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.test_layers import PACKAGE, ROOT, calls, modules

#: Programs that take code as an argument.
_SHELLS = {
    "sh", "bash", "dash", "ksh", "zsh", "busybox", "/bin/sh", "/bin/bash", "env", "xargs", "perl", "awk", "ssh",
}  # fmt: skip
_STARTERS = {
    "commands.run", "commands.run_limited", "commands.Child", "commands.start_detached", "commands.call",
    "commands.become", "subprocess.Popen", "subprocess.run", "subprocess.call", "os.execv", "os.execve", "os.spawnv",
}  # fmt: skip
_NEVER = {
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn", "eval", "exec",
    "asyncio.create_subprocess_shell", "commands.getoutput", "compile", "__import__", "pickle.loads", "pickle.load",
    "marshal.loads", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "os.execl", "os.execlp", "os.execvp", "os.spawnlp",
}  # fmt: skip
_PYTHON = list(modules(PACKAGE).values())
_DOORS = sorted(path for folder in ("remotes", "share") for path in (ROOT / folder).rglob("*") if path.is_file())


def test_nothing_that_makes_code_of_text() -> None:
    wrong = [
        f"{path}:{line}: {name}"
        for path in _PYTHON
        for name, line, node in calls(path)
        if name in _NEVER or name.split(".")[-1] in ("create_subprocess_shell", "getoutput")
        or any(word.arg == "shell" for word in node.keywords)
    ]  # fmt: skip
    assert wrong == []


def test_every_program_is_started_with_a_list_that_begins_with_no_shell() -> None:
    started, wrong = 0, []
    for path in _PYTHON:
        for name, line, node in calls(path):
            if name not in _STARTERS:
                continue
            started += 1
            first = node.args[0] if node.args else None
            if isinstance(first, (ast.Constant, ast.JoinedStr)) and name != "commands.become":
                wrong.append(f"{path}:{line}: {name} is given a text")
            words = [item.value for item in ast.walk(node) if isinstance(item, ast.Constant)]
            if _SHELLS & {word for word in words if isinstance(word, str)}:
                wrong.append(f"{path}:{line}: {name} starts a shell")
    assert started > 10 and wrong == []


def test_options_end_before_what_others_name() -> None:
    """A path or a name that begins with a minus sign is no option of qemu-img."""
    wrong = []
    for path in _PYTHON:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.List, ast.Tuple)) and node.elts:
                words = [item.value if isinstance(item, ast.Constant) else None for item in node.elts]
                if "--output=json" in words and "--" not in words:
                    wrong.append(f"{path}:{node.lineno}")
    assert wrong == []


@pytest.mark.parametrize("path", _DOORS, ids=lambda path: path.name)
def test_what_lies_in_the_front_end_is_no_shell_script(path: Path) -> None:
    text = path.read_text()
    first = text.splitlines()[0]
    assert not first.startswith("#!") or first == "#!/usr/bin/env python3", path
    if first.startswith("#!"):
        names = [name for name, _, _ in calls(path)]
        assert not set(names) & (_NEVER | _STARTERS)
    if path.suffix in (".service", ".timer", ".hook") or path.parent.name == "cron":
        assert not re.search(r"(?:\b(?:ba|da)?sh\b\s+-c|`|\$\(|\|)", re.sub(r"^#.*$", "", text, flags=re.M)), path
    if path.suffix == ".hook":
        assert re.search(r'^ARGUMENTS_STDIN\s*=\s*"yes"$', text, re.M), "payloads do not belong into a command line"


def test_the_installer_makes_no_code_of_text() -> None:
    text = (ROOT / "install.sh").read_text()
    code = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    bad = re.compile(r"(?:^|[;&|({]\s*|\bthen\s+)eval\b|\b(?:ba|da)?sh\s+-c\b|`|\bsource\s+<|curl[^|]*\|\s*(?:ba)?sh")
    found = [line for line in code if bad.search(line) and "'''" not in line]
    assert found == []
    done = subprocess.run(["shellcheck", "-S", "warning", "install.sh"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_tests_themselves_see_a_shell(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("os.system('ls')\nsubprocess.run('ls', shell=True)\ncommands.run(['sh', '-c', x])\n")
    names = [name for name, _, _ in calls(bad)]
    assert names == ["os.system", "subprocess.run", "commands.run"] and set(names) & _NEVER
