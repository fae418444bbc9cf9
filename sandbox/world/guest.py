# SPDX-License-Identifier: Apache-2.0
"""Guests: one process per RUNNING VM that writes to all its disks, and what their disks prove afterwards.

A guest belongs to a directory (the VM's), not to us: it survives the sandbox's death and is found again
through DIRECTORY/guest.pid. What it writes and where: guest_records.py.
"""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from sandbox.world import guest_records, qcow2
from sandbox.world.guest_process import CONFIGURATION, PID, STATE
from sandbox.world.guest_records import DiskEvidence

_PROJECT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_POLL_S = 0.01


class GuestError(Exception):
    """A guest cannot do what was asked (not there, died, disk unusable); the text is one line."""


@dataclass(frozen=True)
class GuestDisk:
    """A writable disk of a VM. Disks below 4 MiB are left alone. Do not pass CD-ROMs."""

    path: Path
    format: str


@dataclass(frozen=True)
class Guest:
    """A guest process; `started` (kernel ticks) tells it from a later process with the same pid."""

    pid: int
    started: int
    directory: Path


@dataclass(frozen=True)
class GuestEvidence:
    """What a VM's disks tell, taken together."""

    disks: tuple[DiskEvidence, ...]

    @property
    def counters(self) -> list[Optional[int]]:
        return [disk.counter for disk in self.disks]

    @property
    def intact(self) -> bool:
        """Every disk by itself is as after a power cut at some moment: no torn, no missing record."""
        return all(disk.intact for disk in self.disks)

    @property
    def same_moment(self) -> bool:
        """All disks are intact and stand at the same counter of the same boot."""
        first = self.disks[0] if self.disks else None
        return self.intact and all((d.counter, d.boot) == (first.counter, first.boot) for d in self.disks if first)

    @property
    def clean(self) -> bool:
        return bool(self.disks) and all(disk.clean for disk in self.disks)

    @property
    def consistent(self) -> bool:
        """The copy was taken after a clean shutdown and all disks are from the same moment."""
        return self.clean and self.same_moment

    @property
    def torn(self) -> bool:
        """The disks are not from one moment, or one of them is damaged."""
        return not self.same_moment


def start(directory: Path, disks: Sequence[GuestDisk], records_per_second: float = 20.0) -> Guest:
    """Boot: returns when the first record is on every disk. Raises GuestError.

    The counter goes on behind the highest one found on any of the disks; a clean mark is taken away.
    """
    if is_running(directory):
        raise GuestError(f"a guest is already running in {directory}")
    directory.mkdir(parents=True, exist_ok=True)
    configuration = _configuration(disks)
    first = _last_counter(configuration) + 1
    configuration.update(first=first, interval_s=1 / records_per_second)
    _write_configuration(directory, configuration)
    (directory / STATE).unlink(missing_ok=True)
    guest = _spawn(directory)
    _await_state(guest, "running", _START_TIMEOUT_S)
    return guest


def stop(directory: Path) -> None:
    """Shut down cleanly: a last record and the clean mark on every disk, flushed, process gone.

    Also of a paused guest. Raises GuestError when the guest was not there or died on the way.
    """
    guest = _require(directory)
    _send(guest, signal.SIGTERM)
    _await_end(guest, _STOP_TIMEOUT_S)
    if state(directory) != "clean":
        raise GuestError(f"guest of {directory} died while shutting down: {state(directory)}")
    (directory / PID).unlink(missing_ok=True)


def pause(directory: Path) -> None:
    """Suspend: the record in hand is finished on all disks, then nothing is written; memory is kept."""
    guest = _require(directory)
    _send(guest, signal.SIGUSR1)
    _await_state(guest, "paused", _STOP_TIMEOUT_S)


def resume(directory: Path, disks: Optional[Sequence[GuestDisk]] = None) -> None:
    """Go on after pause() with the next counter; with `disks` where the files have moved meanwhile."""
    guest = _require(directory)
    configuration = json.loads((directory / CONFIGURATION).read_text())
    known = disks or [GuestDisk(Path(disk["path"]), disk["format"]) for disk in configuration["disks"]]
    configuration.update(_configuration(known))
    _write_configuration(directory, configuration)
    _send(guest, signal.SIGUSR2)
    _await_state(guest, "running", _START_TIMEOUT_S)


def kill(directory: Path) -> None:
    """Power cut: the process is gone at once, no clean mark. Nothing to do where no guest runs."""
    guest = find(directory)
    if guest is not None:
        _send(guest, signal.SIGKILL)
        _await_end(guest, _STOP_TIMEOUT_S)
    (directory / PID).unlink(missing_ok=True)


def find(directory: Path) -> Optional[Guest]:
    """Return the living guest of a directory, also one that an earlier sandbox process started."""
    try:
        pid, started = (int(word) for word in (directory / PID).read_text().split())
    except (OSError, ValueError):
        return None
    guest = Guest(pid, started, directory)
    return guest if _is_alive(guest) else None


def is_running(directory: Path) -> bool:
    """Return whether a guest process (paused ones too) belongs to this directory."""
    return find(directory) is not None


def state(directory: Path) -> str:
    """Return what the guest last said of itself: running, paused, clean, "error …", or "" for nothing."""
    try:
        return (directory / STATE).read_text()
    except OSError:
        return ""


def inspect(disks: Sequence[GuestDisk]) -> GuestEvidence:
    """Read the evidence from disk files, overlays or flattened copies. Raises GuestError."""
    return GuestEvidence(tuple(_in_parallel(_examine, disks)))


def _examine(disk: GuestDisk) -> DiskEvidence:
    size = _size(disk)
    area = qcow2.read(disk.path, disk.format, size - guest_records.AREA_BYTES, guest_records.AREA_BYTES)
    return guest_records.examine(area)


def _configuration(disks: Sequence[GuestDisk]) -> dict[str, Any]:
    return {"disks": list(_in_parallel(_placed, _usable(disks)))}


def _usable(disks: Sequence[GuestDisk]) -> list[GuestDisk]:
    return [disk for disk in disks if _size(disk) >= guest_records.MINIMUM_DISK_BYTES]


def _placed(disk: GuestDisk) -> dict[str, Any]:
    size, length = _size(disk), guest_records.AREA_BYTES
    extents = qcow2.writable_extents(disk.path, disk.format, size - length, length)
    places = [[extent.start, extent.offset, extent.length] for extent in extents]
    return {"path": str(disk.path.absolute()), "format": disk.format, "extents": places}


def _last_counter(configuration: dict[str, Any]) -> int:
    counters = [0]
    for disk in configuration["disks"]:
        extents = [qcow2.Extent(*place) for place in disk["extents"]]
        area = qcow2.read_extents(Path(disk["path"]), extents)
        counters.append(guest_records.examine(area).counter or 0)
    return max(counters)


def _size(disk: GuestDisk) -> int:
    try:
        size = qcow2.virtual_size(disk.path, disk.format)
    except (qcow2.LayoutError, OSError) as error:
        raise GuestError(str(error)) from error
    return size - size % guest_records.SLOT_BYTES


def _in_parallel(action: Any, disks: Sequence[GuestDisk]) -> list[Any]:
    try:
        if len(disks) < 2:
            return [action(disk) for disk in disks]
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(action, disks))
    except (qcow2.LayoutError, OSError) as error:
        raise GuestError(str(error)) from error


def _write_configuration(directory: Path, configuration: dict[str, Any]) -> None:
    temporary = directory / f"{CONFIGURATION}.new"
    temporary.write_text(json.dumps(configuration))
    os.replace(temporary, directory / CONFIGURATION)


def _spawn(directory: Path) -> Guest:
    environment = {**os.environ, "PYTHONPATH": str(_PROJECT)}
    argv = [sys.executable, "-S", "-m", f"{__package__}.guest_process", str(directory.absolute())]
    process = subprocess.Popen(
        argv, env=environment, cwd="/", start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    process.returncode = 0  # we reap by pid, like the sandbox that comes after us: no warning at collection
    guest = Guest(process.pid, _process(process.pid)[1], directory)
    (directory / PID).write_text(f"{guest.pid} {guest.started}\n")
    return guest


def _require(directory: Path) -> Guest:
    guest = find(directory)
    if guest is None:
        raise GuestError(f"no guest runs in {directory} (last state: {state(directory) or 'none'})")
    return guest


def _send(guest: Guest, number: signal.Signals) -> None:
    try:
        os.kill(guest.pid, number)
    except ProcessLookupError:
        pass


def _await_state(guest: Guest, wanted: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while state(guest.directory) != wanted:
        if not _is_alive(guest):
            raise GuestError(f"guest of {guest.directory} died: {state(guest.directory) or 'no reason given'}")
        if time.monotonic() > deadline:
            raise GuestError(f"guest of {guest.directory} is not {wanted} after {timeout_s:.0f} s")
        time.sleep(_POLL_S)


def _await_end(guest: Guest, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while _is_alive(guest):
        if time.monotonic() > deadline:
            raise GuestError(f"guest of {guest.directory} did not end within {timeout_s:.0f} s")
        time.sleep(_POLL_S)


def _is_alive(guest: Guest) -> bool:
    state, started = _process(guest.pid)
    if started != guest.started:
        return False
    if state == "Z":
        _reap(guest.pid)
    return state not in ("Z", "X")


def _process(pid: int) -> tuple[str, int]:
    """Return state and start time (fields 3 and 22 of stat) of a process, ("", -1) when there is none."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "", -1
    return fields[0], int(fields[19])


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # not our child: an earlier sandbox started it
