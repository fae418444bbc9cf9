# SPDX-License-Identifier: Apache-2.0
"""Requests taken from the queue are carried out: by `onebackup run`, or by the worker that a hook started."""

from __future__ import annotations

from dataclasses import dataclass

from onebackup_driver import (
    backup,
    catalogue,
    clock,
    cloud,
    errors,
    leader,
    locks,
    planning,
    policy,
    progress,
    queue,
    records,
    recover,
    states,
    status,
    terminated,
    worker,
)
from onebackup_driver.context import Context

DONE, DROPPED, FAILED, LATER = "done", "dropped", "failed", "later"
_BUSY_DELAY_S = 60
_UNREACHABLE_DELAY_S = 30


@dataclass(frozen=True)
class Served:
    """What became of a request: done, dropped (nothing to do any more), failed, or later (it waits again)."""

    request: queue.Request
    result: str
    message: str


class _Dropped(Exception):
    """There is nothing to do any more."""


def carry_out(context: Context, request: queue.Request) -> Served:
    """Carry out one taken request and finish it, or put it back. Expected errors are in the answer, not raised."""
    served = _attempt(context, request)
    context.log.info("VM %s, request '%s': %s: %s", request.vm_id, request.reason, served.result, served.message)
    if served.result != LATER:
        queue.finish(context.where.queue, request, f"{served.result}: {served.message}")
    return served


def work(context: Context) -> list[Served]:
    """Be the worker: take requests one after the other until none is left. Nothing when a worker runs already."""
    served: list[Served] = []
    obstacle = leader.obstacle(context)
    if obstacle:
        context.log.info("%s", obstacle)
        return served
    while True:
        with worker.only_one(context.locks) as mine:
            if not mine:
                return served
            served += _drain(context)
        if not _ready(context):  # looked at once more without the lock: see worker.start
            return served


def _drain(context: Context) -> list[Served]:
    served = []
    while taken := queue.take(context.where.queue, 1):
        served.append(carry_out(context, taken[0]))
    return served


def _ready(context: Context) -> bool:
    busy = {request.file_name for request in queue.claimed(context.where.queue)}
    return any(
        request.not_before <= clock.now() and request.file_name not in busy
        for request in queue.waiting(context.where.queue)
    )


def _attempt(context: Context, request: queue.Request) -> Served:
    try:
        return Served(request, DONE, _do(context, request))
    except _Dropped as reason:
        return Served(request, DROPPED, str(reason))
    except (locks.Busy, errors.Unreachable, errors.OutcomeUnknown, errors.AuthenticationFailed) as error:
        delay_s = _BUSY_DELAY_S if isinstance(error, locks.Busy) else _UNREACHABLE_DELAY_S
        queue.put_back(context.where.queue, request, delay_s)
        return Served(request, LATER, str(error))
    except errors.Refused as error:
        _tell_refusal(context, request, str(error))
        return Served(request, FAILED, str(error))
    except errors.Error as error:
        return Served(request, FAILED, str(error))


def _do(context: Context, request: queue.Request) -> str:
    if request.reason == queue.TERMINATED:
        return terminated.remove(context, request.vm_id)
    under_way = len(progress.running(context.where.progress))
    if under_way >= context.configuration.limits.total:
        raise locks.Busy(f"{under_way} backups are under way")
    with locks.vm(context.locks, request.vm_id, "being looked at"):
        recover.leftovers_of(context, request.vm_id)
    wanted = _wanted(context, request)
    try:
        outcome = backup.run(context, request.vm_id, wanted)
    except planning.NotOff as error:
        raise _Dropped(str(error)) from error
    if outcome.point is None:
        raise _Dropped(backup.summary(outcome))
    return backup.summary(outcome)


def _wanted(context: Context, request: queue.Request) -> planning.Request:
    """What to ask the backup for. Raises _Dropped when nothing is to be done any more."""
    machine = cloud.machine(context, request.vm_id)
    if machine.state.state == states.DONE:
        raise _Dropped(f"VM {request.vm_id} was terminated meanwhile")
    points = catalogue.build(cloud.apps(context), context.trusted_uids(machine.uid))
    for point in catalogue.of_vm(points, machine.vm_id, machine.started):
        if point.time >= request.requested_at and not point.problems:
            raise _Dropped(f"restore point {point.backup_id} was made since it was asked for")
    if request.reason == queue.OFF:
        rules = policy.read(machine.vm_id, machine.backup, context.configuration)
        due = policy.due_soon(rules, clock.now(), context.configuration.opportunistic_fraction)
        if not due.due:
            raise _Dropped(f"VM {request.vm_id} is not due soon any more")
        return planning.Request(force=True, only_off=True)
    always = context.configuration.native_backup_calls == "always"
    return planning.Request(force=request.reason == queue.NOW or (request.reason == queue.NATIVE and always))


def _tell_refusal(context: Context, request: queue.Request, message: str) -> None:
    """The owner who asked reads why not; a chance to back up that was missed is not worth an error."""
    if request.reason in (queue.NOW, queue.NATIVE):
        status.tell(context, request.vm_id, records.ERROR, message)
