# SPDX-License-Identifier: Apache-2.0
"""What a run has begun and not yet finished: one file per run (format in docs/journal-format.md).

Written before each step that changes something; a file is replaced atomically, so it is never half there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onebackup_driver import clock, errors, files, json_text

FORMAT = 1
_RUN = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


class Unreadable(errors.Error):
    """A journal file cannot be read or is of another format."""


@dataclass
class Step:
    """One change: `kind` selects its undo, `facts` is what the undo needs."""

    kind: str
    facts: dict[str, Any]
    ended: bool = False


@dataclass
class Journal:
    """The story of one run. `outcome`: `` while it goes on, then done, undone or attention."""

    path: Path
    run: str
    kind: str
    vm_id: int
    vm_name: str
    began: int
    steps: list[Step] = field(default_factory=list)
    outcome: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def begin(self, kind: str, **facts: Any) -> Step:
        """Note, durably, that a step is about to change something."""
        step = Step(kind, facts)
        self.steps.append(step)
        self.save()
        return step

    def end(self, step: Step) -> None:
        """Note that a step needs no undo any more."""
        step.ended = True
        self.save()

    def note(self, **facts: Any) -> None:
        """Remember facts about the whole run."""
        self.facts.update(facts)
        self.save()

    def close(self, outcome: str) -> None:
        """End the run: done and undone remove the file, attention keeps it for the next recover."""
        self.outcome = outcome
        if outcome in ("done", "undone"):
            self.path.unlink()
            files.sync_directory(self.path.parent)
        else:
            self.save()

    def save(self) -> None:
        """Write the file."""
        document = {
            "format": FORMAT,
            "run": self.run,
            "kind": self.kind,
            "vm_id": self.vm_id,
            "vm_name": self.vm_name,
            "began": self.began,
            "pid": os.getpid(),
            "outcome": self.outcome,
            "facts": self.facts,
            "steps": [{"kind": step.kind, "facts": step.facts, "ended": step.ended} for step in self.steps],
        }
        files.write(self.path, json.dumps(document, indent=1).encode())


def open_new(directory: Path, run: str, kind: str, vm_id: int, vm_name: str) -> Journal:
    """Begin the journal of a run. Raises OSError when it cannot be written (then nothing may be changed), Refused for
    a run that has no name of ours: run ids are read from attributes too, and become a file's name."""
    if not _RUN.fullmatch(run):
        raise errors.Refused(f"{run[:60]!r} is not the id of a run")
    files.make_private_directory(directory)
    journal = Journal(directory / f"{run}.json", run, kind, vm_id, vm_name, clock.now())
    journal.save()
    return journal


def unfinished(directory: Path) -> Iterator[Path]:
    """The files of the runs that have not ended, oldest name first."""
    return iter(sorted(directory.glob("*.json")))


def load(path: Path) -> Journal:
    """Read one journal. Raises Unreadable."""
    try:
        document = json_text.read(path)
        if document["format"] != FORMAT:
            raise Unreadable(f"journal {path} has format {document['format']}; this version reads {FORMAT}")
        steps = [Step(str(item["kind"]), dict(item["facts"]), bool(item["ended"])) for item in document["steps"]]
        return Journal(
            path,
            str(document["run"]),
            str(document["kind"]),
            json_text.whole(document["vm_id"]),
            str(document["vm_name"]),
            json_text.whole(document["began"]),
            steps,
            str(document["outcome"]),
            dict(document["facts"]),
        )
    except (OSError, ArithmeticError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(
            f"cannot read the journal {path} ({_reason(error)}), so what its run left was not undone: look at the file,"
            f" and for a VM that is down and templates and images with {path.stem} in their names, then move it away"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"no {error} in it" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
