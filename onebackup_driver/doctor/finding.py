# SPDX-License-Identifier: Apache-2.0
"""What was found about one prerequisite."""

from __future__ import annotations

from dataclasses import asdict, dataclass

OK, PROBLEM, SKIPPED = "ok", "problem", "not checked"


@dataclass(frozen=True)
class Finding:
    """`fix`: what to do about a problem. SKIPPED: could not be looked at, because of another problem."""

    name: str
    state: str
    text: str
    fix: str = ""

    def __str__(self) -> str:
        fix = f"; to fix it: {self.fix}" if self.fix else ""
        return f"{self.state:<11}  {self.name}: {self.text}{fix}"


def ok(name: str, text: str) -> Finding:
    return Finding(name, OK, text)


def problem(name: str, text: str, fix: str) -> Finding:
    return Finding(name, PROBLEM, text, fix)


def skipped(name: str, text: str) -> Finding:
    return Finding(name, SKIPPED, text)


def as_data(finding: Finding) -> dict[str, str]:
    """For --json."""
    return asdict(finding)
