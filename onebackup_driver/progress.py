# SPDX-License-Identifier: Apache-2.0
"""Where a running backup stands, in a small file for `onebackup status` and the timer's display.

A step is a line of the log, so nobody has to report steps. The file counts only while its process lives. (The VM's
lock would tell too, but who tries a lock holds it for a moment, and a backup that begins just then would be refused.)
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

from onebackup_driver import clock, files, json_text

_PAUSE_S = 1.0


@dataclass
class Progress:
    """Times in seconds since the epoch, but `pid_began`: when the process began, in clock ticks since boot.

    `size_mb`: of the disks that are saved. `done_bytes` of `total_bytes` are worked through in this step; 0 of 0 where
    that is not known.
    """

    vm_id: int
    vm_name: str
    pid: int
    pid_began: int
    began: int
    size_mb: int = 0
    step: str = ""
    step_began: int = 0
    done_bytes: int = 0
    total_bytes: int = 0


class _Reporter(logging.Handler):
    """Turns log lines into steps. A file that cannot be written keeps no backup from going on."""

    def __init__(self, path: Path, progress: Progress):
        super().__init__(logging.INFO)
        self.path, self.progress, self._written = path, progress, 0.0

    def emit(self, record: logging.LogRecord) -> None:
        self.progress.step = " ".join(record.getMessage().split())[:300]
        self.progress.step_began = clock.now()
        self.progress.done_bytes = self.progress.total_bytes = 0
        self.write()

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        self.progress.done_bytes, self.progress.total_bytes = done_bytes, total_bytes
        if clock.monotonic() - self._written >= _PAUSE_S:
            self.write()

    def write(self) -> None:
        self._written = clock.monotonic()
        try:
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(asdict(self.progress)), encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError:
            pass


_current: Optional[_Reporter] = None


@contextmanager
def of_vm(directory: Path, log: logging.Logger, vm_id: int, vm_name: str, size_mb: int) -> Iterator[None]:
    """Report inside the block; the caller holds the VM's lock."""
    global _current
    try:
        files.make_private_directory(directory)
    except OSError:
        pass
    pid = os.getpid()
    progress = Progress(vm_id, vm_name, pid, _began(pid), clock.now(), size_mb)
    reporter = _Reporter(directory / f"vm-{vm_id}.json", progress)
    reporter.write()
    log.addHandler(reporter)
    _current = reporter
    try:
        yield
    finally:
        _current = None
        log.removeHandler(reporter)
        try:
            reporter.path.unlink()
        except OSError:
            pass


def advance(done_bytes: int, total_bytes: int) -> None:
    """Say how many bytes of the present step are done; total 0 when it is not known."""
    if _current is not None:
        _current.advance(done_bytes, total_bytes)


def running(directory: Path) -> list[Progress]:
    """The backups that are running on this machine, the oldest first."""
    found = []
    for path in directory.glob("vm-*.json"):
        try:
            progress = _progress(path)
        except (OSError, ValueError, TypeError, AttributeError):
            continue
        if _began(progress.pid) == progress.pid_began:
            found.append(progress)
    return sorted(found, key=lambda item: (item.began, item.vm_id))


def _progress(path: Path) -> Progress:
    document = json_text.read(path)
    texts = {key: str(document.pop(key)) for key in ("vm_name", "step") if key in document}
    return Progress(**texts, **{key: json_text.whole(value) for key, value in document.items()})  # type: ignore[arg-type]


def _began(pid: int) -> int:
    """Field 22 of /proc/<pid>/stat (proc(5)); -1 when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return -1
