# SPDX-License-Identifier: Apache-2.0
"""The guest itself: `python -m sandbox.world.guest_process DIRECTORY`, started by guest.start().

It reads DIRECTORY/guest.json (disks and where to write), takes its counter from there and writes one
record a round to each disk, flushed. SIGTERM: clean shutdown. SIGUSR1: pause after the round in hand.
SIGUSR2: go on (guest.json is read again, for the files may have moved). Its state is in
DIRECTORY/guest.state. It ends by itself when its pid file is gone, so that none is left behind by a test.
Standard library only: a guest has to start fast and stay small.
"""
from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from sandbox.world import guest_records
from sandbox.world.guest_records import Boot

CONFIGURATION, STATE, PID = "guest.json", "guest.state", "guest.pid"
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_LARGEST_SHARE_OF_TIME = 0.25  # of the wall clock that rounds may take where flushing is slow
_PID_FILE_CHECK_S = 1.0


class Disk:
    """One disk file, open for writing at the places of the guest's area."""

    def __init__(self, index: int, path: str, extents: list[list[int]]) -> None:
        self.index = index
        self._extents = extents
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def write(self, at: int, data: bytes) -> None:
        """Write into the area, flushed; a live copy holds the lock and makes us wait here."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            for start, offset, length in self._extents:
                begin, end = max(at, start), min(at + len(data), start + length)
                if begin < end:
                    os.pwrite(self._descriptor, data[begin - at : end - at], offset + begin - start)
            os.fdatasync(self._descriptor)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)


@dataclass
class Guest:
    """The running machine: its boot, its disks and how far it has counted."""

    directory: Path
    boot: Boot
    interval_s: float
    disks: list[Disk]
    counter: int

    @classmethod
    def booted(cls, directory: Path) -> Guest:
        configuration = json.loads((directory / CONFIGURATION).read_text())
        first = configuration["first"]
        disks = _open_disks(configuration)
        boot = Boot(os.urandom(16), first, len(disks))
        for disk in disks:
            disk.write(0, bytes(guest_records.AREA_BYTES))
        return cls(directory, boot, configuration["interval_s"], disks, first - 1)

    def write_round(self) -> None:
        self.counter += 1
        for disk in self.disks:
            disk.write(*guest_records.record(self.boot, disk.index, self.counter))

    def shut_down(self) -> None:
        if not self.disks:
            self.reopen()
        self.write_round()
        for disk in self.disks:
            disk.write(*guest_records.clean_mark(self.boot, disk.index, self.counter))

    def release(self) -> None:
        for disk in self.disks:
            disk.close()
        self.disks = []

    def reopen(self) -> None:
        self.disks = _open_disks(json.loads((self.directory / CONFIGURATION).read_text()))


def main(directory: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        guest = Guest.booted(directory)
        _live(guest)
    except OSError as error:
        _publish(directory, f"error {error}")
        sys.exit(1)


def _live(guest: Guest) -> None:
    """Write rounds until told to stop; returns when the guest has shut down or its directory is gone."""
    guest.write_round()
    _publish(guest.directory, "running")
    paused, pause_s, checked = False, guest.interval_s, time.monotonic()
    while True:
        number = _next_signal(_PID_FILE_CHECK_S if paused else pause_s)
        if number == signal.SIGTERM:
            guest.shut_down()
            _publish(guest.directory, "clean")
            return
        if number == signal.SIGUSR1 and not paused:
            guest.release()
            paused = True
            _publish(guest.directory, "paused")
        elif number == signal.SIGUSR2 and paused:
            guest.reopen()
            paused = False
            _publish(guest.directory, "running")
        if time.monotonic() - checked >= _PID_FILE_CHECK_S:
            checked = time.monotonic()
            if not _still_wanted(guest.directory):
                return
        if not paused:
            began = time.monotonic()
            guest.write_round()
            took = time.monotonic() - began
            pause_s = max(guest.interval_s - took, took * (1 / _LARGEST_SHARE_OF_TIME - 1))


def _next_signal(timeout_s: float) -> Optional[int]:
    received = signal.sigtimedwait(_SIGNALS, timeout_s)
    return received.si_signo if received else None


def _still_wanted(directory: Path) -> bool:
    try:
        return (directory / PID).read_text().split()[0] == str(os.getpid())
    except (OSError, IndexError):
        return False


def _open_disks(configuration: dict[str, list[dict[str, object]]]) -> list[Disk]:
    entries = configuration["disks"]
    return [Disk(index, entry["path"], entry["extents"]) for index, entry in enumerate(entries)]  # type: ignore[arg-type]


def _publish(directory: Path, state: str) -> None:
    temporary = directory / f"{STATE}.new"
    temporary.write_text(state)
    os.replace(temporary, directory / STATE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
