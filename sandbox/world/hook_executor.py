# SPDX-License-Identifier: Apache-2.0
"""Run a hook as the front-end's hook executor does (opennebula.md 3.2)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from sandbox.world import processes


@dataclass(frozen=True)
class HookExecution:
    """What the execution record holds; `command` is the line that was run, as <COMMAND> shows it."""

    return_code: int
    stdout: str
    stderr: str
    command: str


def expand_arguments(arguments: str, template: str = "", api: str = "") -> list[str]:
    """Split a hook's ARGUMENTS at spaces and put the base64 texts in for $TEMPLATE and $API."""
    values = {"$TEMPLATE": template, "$API": api}
    return [values.get(word, word) for word in arguments.split()]


def is_stdin(arguments_stdin: Optional[str]) -> bool:
    """Return whether ARGUMENTS_STDIN means stdin: only "yes" does, in any case; "true" is not enough."""
    return (arguments_stdin or "").lower() == "yes"


def run(
    command: str,
    arguments: Sequence[str],
    stdin: bool,
    base_path: Path,
    environment: Mapping[str, str],
    timeout_s: Optional[float] = None,
) -> HookExecution:
    """Run a hook to its end and return code, stdout and stderr; never raises for what the hook does.

    `command` may hold arguments and shell syntax; a relative one is below `base_path` (remotes/hooks).
    With `stdin` all arguments, literal ones too, go to standard input as one line without an end of line
    and argv stays empty. The hook runs in the HOME of `environment`, in a process group of its own;
    `timeout_s` (None or 0: none) ends it with SIGTERM and code 255. A hook that cannot be started has 255.
    """
    line = command if command.startswith("/") else f"{base_path}/{command}"
    joined = " ".join(arguments)
    if joined and not stdin:
        line = f"{line} {joined}"
    done = processes.run_line(
        line, stdin=joined.encode() if stdin else b"", environment=environment, timeout_s=timeout_s or None
    )
    return HookExecution(done.return_code, done.stdout, done.stderr, line)
