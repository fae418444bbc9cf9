# SPDX-License-Identifier: Apache-2.0
"""Where a secret shows: a look at every process of ours while it lives, and at every file afterwards."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path


def forms(secret: str) -> list[bytes]:
    """The secret as it is, and as it looks within Base64 (at each of the three places a byte can have there)."""
    raw = secret.encode()
    coded = [base64.b64encode(b"\0" * shift + raw)[(4 if shift else 0) : -4] for shift in range(3)]
    return [raw, *(item for item in coded if len(item) > 8)]


def found_in(content: bytes, secrets: Iterable[str]) -> list[str]:
    return [secret for secret in secrets if any(form in content for form in forms(secret))]


class Sampler(threading.Thread):
    """Reads command line and environment of processes as often as it can: of all that have `mark` in one of them."""

    def __init__(self, secrets: list[str], mark: str):
        super().__init__(daemon=True)
        self._mark = mark.encode()
        self._secrets, self._end, self._seen = secrets, threading.Event(), dict[tuple[int, bytes], None]()
        self.leaks: list[str] = []
        self.commands: set[bytes] = set()

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def run(self) -> None:
        while not self._end.wait(0.002):
            for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
                self._look(pid)

    def _look(self, pid: int) -> None:
        line = _read(pid, "cmdline")
        if not line or (pid, line) in self._seen:
            return
        self._seen[(pid, line)] = None
        environment = _read(pid, "environ")
        if self._mark not in line + environment:
            return
        self.commands.add(line)
        for place, content in (("command line", line), ("environment", environment)):
            for secret in found_in(content, self._secrets):
                self.leaks.append(f"{secret} in the {place} of {line[:200]!r}")


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def files(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path
