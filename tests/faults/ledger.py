# SPDX-License-Identifier: Apache-2.0
"""A file with the outcome of every case that was run, so that a run of hours can be interrupted and carried on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Optional

from tests.faults.cases import Case, Outcome


class Ledger:
    """`path` None: nothing is kept. The last outcome of a case counts."""

    def __init__(self, path: Optional[Path]) -> None:
        self._path = path
        self._outcomes: dict[Case, Outcome] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._note(_parsed(line))

    def add(self, outcome: Outcome) -> None:
        self._note(outcome)
        if self._path is not None:
            with open(self._path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps({**asdict(outcome), "case": str(outcome.case)}) + "\n")

    def left(self, cases: Iterable[Case]) -> list[Case]:
        """Those that have not been run, or failed."""
        return [case for case in cases if case not in self._outcomes or self._outcomes[case].wrong]

    def outcomes(self) -> list[Outcome]:
        return list(self._outcomes.values())

    def _note(self, outcome: Outcome) -> None:
        self._outcomes[outcome.case] = outcome


def _parsed(line: str) -> Outcome:
    values = json.loads(line)
    return Outcome(**{**values, "case": Case.parse(values["case"])})
