# SPDX-License-Identifier: Apache-2.0
"""Where things stand: what runs, what waits, what failed, what comes next."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from onebackup_driver import errors, explaining, failures, progress, queue, schedule, timer
from onebackup_driver.context import Context
from onebackup_driver.progress import Progress
from onebackup_driver.retry import Failure
from onebackup_driver.schedule import Decision

_NEXT = 10


@dataclass(frozen=True)
class Overview:
    """`problem`: why the front-end could not be asked; the plan is empty then."""

    running: list[Progress]
    waiting: list[queue.Request]
    claimed: list[queue.Request]
    failed: dict[int, Failure]
    due: list[Decision] = field(default_factory=list)
    upcoming: list[Decision] = field(default_factory=list)
    problem: str = ""


def look(context: Context) -> Overview:
    """Everything, from this machine's disk and from the front-end."""
    where = context.where
    local = (
        progress.running(where.progress),
        queue.waiting(where.queue),
        queue.claimed(where.queue),
        failures.load(where.failures),
    )
    try:
        decisions = timer.plan(context).decisions
    except errors.Error as error:
        return Overview(*local, problem=str(error))
    later = [item for item in decisions if not item.runs and item.at and item.verdict != schedule.BAD]
    upcoming = sorted(later, key=lambda item: (item.at, item.machine.vm_id))
    return Overview(*local, [item for item in decisions if item.runs], upcoming[:_NEXT])


def as_data(found: Overview) -> dict[str, Any]:
    """For --json."""
    return {
        "running": [asdict(item) for item in found.running],
        "queue": [_request(item, "waiting") for item in found.waiting]
        + [_request(item, "claimed") for item in found.claimed],
        "failures": [
            {"vm_id": vm_id, "times": row.times, "last": row.last, "reason": row.reason}
            for vm_id, row in sorted(found.failed.items())
        ],
        "due": [explaining.as_data(item) for item in found.due],
        "next": [explaining.as_data(item) for item in found.upcoming],
        "problem": found.problem,
    }


def _request(request: queue.Request, state: str) -> dict[str, Any]:
    return {
        "vm_id": request.vm_id,
        "reason": request.reason,
        "requested_by": request.requested_by,
        "requested_at": request.requested_at,
        "state": state,
    }
