# SPDX-License-Identifier: Apache-2.0
"""The recorded sessions of real front-ends, as tests read them (tests/data/recordings)."""
from __future__ import annotations

import ast
import csv
import re
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

DIRECTORY = Path(__file__).resolve().parents[1] / "data" / "recordings"
ERROR = re.compile(r"^(-?\d+) (?:XML-RPC fault: )?(.*)$", re.S)


@dataclass(frozen=True)
class Exchange:
    """One recorded call; `arguments` is None where the request was not kept (other users' sessions)."""

    number: int
    method: str
    arguments: Optional[list[Any]]
    ok: bool
    value: Any
    code: int
    object_id: Optional[int]
    note: str


def session(version: str) -> list[Exchange]:
    """All exchanges of a version's session, in order."""
    with open(DIRECTORY / version / "INDEX.tsv", newline="") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return [_exchange(DIRECTORY / version / "xmlrpc", row) for row in rows]


def _exchange(directory: Path, row: list[str]) -> Exchange:
    number, method, _, summary, note = row
    request = directory / f"{number}-{method}.request.xml"
    if not request.exists():
        return _from_index(int(number), method, summary, note)
    arguments = list(xmlrpc.client.loads(request.read_bytes())[0][1:])
    try:
        answer: Any = xmlrpc.client.loads((directory / f"{number}-{method}.response.xml").read_bytes())[0][0]
    except xmlrpc.client.Fault as fault:
        return Exchange(int(number), method, arguments, False, fault.faultString, fault.faultCode, None, note)
    object_id = answer[3] if len(answer) > 3 else None
    return Exchange(int(number), method, arguments, answer[0], answer[1], answer[2], object_id, note)


def _from_index(number: int, method: str, summary: str, note: str) -> Exchange:
    if summary.startswith("["):
        values = ast.literal_eval(summary)
        return Exchange(number, method, None, False, values[1], values[2], values[3], note)
    match = ERROR.match(summary)
    assert match, summary
    return Exchange(number, method, None, False, match.group(2), int(match.group(1)), None, note)


def states(version: str) -> list[tuple[str, list[str]]]:
    """(action, states in order) of STATES.txt; VM states as "3/18", those of images and apps as "4"."""
    found = []
    for line in (DIRECTORY / version / "STATES.txt").read_text().splitlines():
        action, _, sequence = line.partition(": ")
        pairs = [f"{a}/{b}" for a, b in re.findall(r"\((\d+), (\d+), [\d.]+\)", sequence)]
        found.append((action, pairs or re.findall(r"'(\d+)'", sequence)))
    return found
