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
    units,
    worker,
)
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.context import Context
from onebackup_driver.vm import VirtualMachine

DONE, DROPPED, FAILED, LATER = "done", "dropped", "failed", "later"
_BUSY_DELAY_S = 60
_UNREACHABLE_DELAY_S = 30
#: Then a worker ends, whatever waits: the timer waits for the one that it started.
_LONGEST_S = 3600.0
#: The timer looks for a free place several times a second; what it starts is seen within this time.
_TURN_S = 2.0


@dataclass(frozen=True)
class Served:
    """What became of a request: done, dropped (nothing to do any more), failed, or later (it waits again)."""

    request: queue.Request
    result: str
    message: str


class _Dropped(Exception):
    """There is nothing to do any more."""


class _TooEarly(Exception):
    """The site does not allow it before `at`; `point`: the restore point that was made just before."""

    def __init__(self, point: RestorePoint, at: int) -> None:
        self.at, self.point = at, point
        super().__init__(
            f"a backup was asked for; restore point {point.backup_id} is younger than minimum_frequency_seconds:"
            f" not before {units.local_time(at)}"
        )


def carry_out(context: Context, request: queue.Request) -> Served:
    """Carry out one taken request and finish it, or put it back. Expected errors are in the answer, not raised."""
    served = _attempt(context, request)
    context.log.info("VM %s, request '%s': %s: %s", request.vm_id, request.reason, served.result, served.message)
    if served.result != LATER:
        queue.finish(context.where.queue, request, f"{served.result}: {served.message}")
    return served


def work(context: Context) -> list[Served]:
    """Be the worker: take requests one after the other until none is left, or for an hour: nobody's requests hold up
    a run of the timer for ever. Nothing when a worker runs already."""
    served: list[Served] = []
    deadline = clock.monotonic() + _LONGEST_S
    obstacle = leader.obstacle(context)
    if obstacle:
        context.log.info("%s", obstacle)
        return served
    while True:
        with worker.only_one(context.locks) as mine:
            if not mine:
                return served
            served += _drain(context, deadline)
        # Looked at once more without the lock: see worker.start.
        if not _ready(context) or clock.monotonic() >= deadline:
            return served


def _drain(context: Context, deadline: float) -> list[Served]:
    served: list[Served] = []
    while taken := queue.take(context.where.queue, 1):
        served.append(carry_out(context, taken[0]))
        if clock.monotonic() >= deadline:
            break
        if served[-1].result == DONE and _ready(context):
            clock.sleep(_TURN_S)  # the place that has become free may be taken by a VM that is due
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
    except _TooEarly as reason:
        queue.put_back(context.where.queue, request, reason.at - clock.now())
        status.tell(context, request.vm_id, records.OK, str(reason), RESTORE_POINT=str(reason.point.backup_id))
        return Served(request, LATER, str(reason))
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
    """What to ask the backup for. Raises _Dropped when nothing is to be done any more, _TooEarly."""
    machine = cloud.machine(context, request.vm_id)
    if machine.state.state == states.DONE:
        raise _Dropped(f"VM {request.vm_id} was terminated meanwhile")
    now = clock.now()
    points = _until_now(context, machine, now)
    for point in points:
        # In the same second the guest may have gone on between the two.
        if point.time > request.requested_at:
            raise _Dropped(f"restore point {point.backup_id} was made since it was asked for")
    wanted = _of_reason(context, request, machine, now)
    allowed_at = points[-1].time + context.configuration.minimum_frequency_seconds if points else now
    if wanted.force and allowed_at > now:
        early = _TooEarly(points[-1], allowed_at)
        raise early if request.reason == queue.NOW else _Dropped(str(early))
    return wanted


def _until_now(context: Context, machine: VirtualMachine, now: int) -> list[RestorePoint]:
    """The VM's good restore points; not those from a time when the clock was ahead: they say nothing about today."""
    points = catalogue.build(cloud.apps(context), context.trusted_uids(machine.uid))
    own = catalogue.of_vm(points, machine.vm_id, machine.started)
    return [point for point in own if point.time <= now and not point.problems]


def _of_reason(context: Context, request: queue.Request, machine: VirtualMachine, now: int) -> planning.Request:
    if request.reason == queue.NOW:
        return planning.Request(force=True)
    rules = policy.read(machine.vm_id, machine.backup, context.configuration)
    if request.reason == queue.OFF:
        if not policy.due_soon(rules, now, context.configuration.opportunistic_fraction).due:
            raise _Dropped(f"VM {request.vm_id} is not due soon any more")
        return planning.Request(force=True, only_off=True)
    always = context.configuration.native_backup_calls == "always"
    return planning.Request(force=always or policy.due(rules, now).due)


def _tell_refusal(context: Context, request: queue.Request, message: str) -> None:
    """The owner who asked reads why not; a chance to back up that was missed is not worth an error."""
    if request.reason in (queue.NOW, queue.NATIVE):
        status.tell(context, request.vm_id, records.ERROR, message)
