# SPDX-License-Identifier: Apache-2.0
"""Backups as child processes of the timer: the same command an admin would type, its outcome read by a program."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Optional

from onebackup_driver import commands, errors, json_text, locks
from onebackup_driver.commands import Child, Result
from onebackup_driver.schedule import Decision

DONE, SKIPPED, FAILED, ATTENTION = "done", "skipped", "failed", "needs attention"
_PROGRAM = (sys.executable, "-m", "onebackup_driver.cli.main")


@dataclass(frozen=True)
class Ended:
    """What became of a VM: `result` is done, skipped, failed or needs attention; `message` says more."""

    vm_id: int
    vm_name: str
    result: str
    message: str


@dataclass(frozen=True)
class Backup:
    """A backup that was started."""

    decision: Decision
    child: Child

    def ended(self) -> Optional[Ended]:
        """What became of it; None while it runs."""
        result = self.child.result()
        if result is None:
            return None
        outcome, message = _read(result)
        return Ended(self.decision.machine.vm_id, self.decision.machine.name, outcome, message)


def start(decision: Decision, log_file: Optional[str] = None) -> Backup:
    """Start the backup of one VM. Raises CommandFailed."""
    argv = [*_PROGRAM, "backup", str(decision.machine.vm_id), "--json-outcome"]
    return Backup(decision, commands.Child(argv + (["--logger", log_file] if log_file else [])))


def start_worker() -> Child:
    """Start the worker that carries out the requests of the queue; it ends at once when there is one."""
    return commands.Child([*_PROGRAM, "work"])


def answer(result: str, message: str) -> str:
    """The line in which a child says how it ended (`backup --json-outcome`)."""
    return json.dumps({"result": result, "message": message})


def _read(result: Result) -> tuple[str, str]:
    try:
        document = json_text.parse(result.output.decode("utf-8").strip().splitlines()[-1])
        return str(document["result"]), str(document["message"])
    except (ValueError, KeyError, TypeError, IndexError):
        words = result.last_words or "it said nothing"
        return FAILED, f"it ended with exit code {result.code}: {words.removeprefix('ERROR: ')}"


def result_of(error: errors.Error) -> str:
    """How an error of a backup counts for the timer."""
    if isinstance(error, locks.Busy):
        return SKIPPED
    return ATTENTION if error.exit_code == errors.EXIT_ATTENTION else FAILED
