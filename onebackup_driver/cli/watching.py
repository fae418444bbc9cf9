# SPDX-License-Identifier: Apache-2.0
"""What is under way, while it is: live lines on a terminal, a line for each new step elsewhere (with -v)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from onebackup_driver import clock, plain, units
from onebackup_driver.progress import Progress

if TYPE_CHECKING:
    from rich.table import Table

    from onebackup_driver.timer import Watch

_BYTES_IN_MIB = 1024 * 1024


@contextmanager
def watcher(verbose: bool) -> Iterator[Watch]:
    """What the timer calls with the backups that run."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(markup=False, highlight=False), transient=True, auto_refresh=False) as live:
            yield lambda running: live.update(table(running), refresh=True)
    else:
        yield _Steps(verbose).watch


def table(running: list[Progress]) -> Table:
    """One row for each VM: step, bytes, rate and time left where they are known, time so far."""
    from rich.table import Table

    found = Table(box=None, show_header=False, pad_edge=False)
    for item in running:
        name, step = plain.line(item.vm_name), plain.line(item.step)
        found.add_row(f"VM {item.vm_id}", name, step, amount(item), duration(clock.now() - item.began))
    return found


def amount(item: Progress) -> str:
    """`512 MiB of 2.0 GiB, 85 MiB/s, 18.1 s left`, or the size of the disks when no more is known."""
    if not item.total_bytes:
        return units.size_in_words(item.size_mb)
    done = units.size_in_words(item.done_bytes / _BYTES_IN_MIB)
    text = f"{done} of {units.size_in_words(item.total_bytes / _BYTES_IN_MIB)}"
    elapsed_s = clock.now() - item.step_began
    if elapsed_s < 1 or not item.done_bytes:
        return text
    rate = item.done_bytes / elapsed_s
    left_s = (item.total_bytes - item.done_bytes) / rate
    return f"{text}, {units.size_in_words(rate / _BYTES_IN_MIB)}/s, {duration(left_s)} left"


def duration(seconds: float) -> str:
    """Never below zero: clocks are set."""
    return units.duration_in_words(max(0.0, seconds))


class _Steps:
    """Prints a line when a VM gets to another step."""

    def __init__(self, verbose: bool):
        self._verbose, self._last = verbose, {0: ""}

    def watch(self, running: list[Progress]) -> None:
        for item in running if self._verbose else []:
            if item.step and self._last.get(item.vm_id) != item.step:
                self._last[item.vm_id] = item.step
                print(plain.line(f"VM {item.vm_id} ({item.vm_name}): {item.step}"), flush=True)
