# SPDX-License-Identifier: Apache-2.0
"""The failures that the timer remembers, in one small file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onebackup_driver import files, json_text
from onebackup_driver.retry import Failure

_FORMAT = 1


def load(path: Path) -> dict[int, Failure]:
    """Failures by VM id. A missing or damaged file means none: they are only a matter of patience."""
    try:
        document = json_text.read(path)
        if document["format"] != _FORMAT:
            return {}
        return {int(vm_id): _failure(row) for vm_id, row in document["failures"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _failure(row: Any) -> Failure:
    times, last = json_text.whole(row["times"]), json_text.whole(row["last"])
    return Failure(max(1, times), last, str(row["reason"]), str(row["section"]))


def save(path: Path, failures: dict[int, Failure]) -> None:
    """Replace the file. Raises OSError."""
    files.make_private_directory(path.parent)
    document = {"format": _FORMAT, "failures": {str(vm_id): row._asdict() for vm_id, row in failures.items()}}
    files.write(path, json.dumps(document, indent=1).encode())
