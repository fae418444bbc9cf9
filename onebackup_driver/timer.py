# SPDX-License-Identifier: Apache-2.0
"""One run of the timer (`onebackup run`, cron's `backup_vms`): leftovers, requests, and every VM that is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Optional

from onebackup_driver import (
    catalogue,
    children,
    clock,
    cloud,
    errors,
    explaining,
    failures,
    judging,
    leader,
    locks,
    planner,
    privacy,
    progress,
    queue,
    recover,
    retry,
    schedule,
    signals,
    strays,
    terminated,
)
from onebackup_driver.app import App
from onebackup_driver.children import Backup, Ended
from onebackup_driver.commands import Child
from onebackup_driver.context import Context
from onebackup_driver.planner import Plan
from onebackup_driver.progress import Progress
from onebackup_driver.recover import Recovered
from onebackup_driver.retry import Failure
from onebackup_driver.schedule import Circumstances, Decision

_PAUSE_S = 0.2
#: A run that goes on for long looks again at what is due: who came later need not wait until all others are done.
_LOOK_AGAIN_S = 900.0
#: Then it ends, and the next one reports and begins anew.
_LONGEST_S = 6 * 3600.0
_REQUEST_WORDS = {
    "now": "a backup now",
    "off": "a backup while it is off",
    "native": "onevm backup",
    "terminated": "it was terminated",
}

#: Called several times a second with what runs.
Watch = Callable[[list[Progress]], None]


@dataclass
class Report:
    """What a run of the timer did. It is filled as things happen, so that it is true also when the run is ended early.
    `idle`: why nothing was done at all."""

    idle: str = ""
    recovered: list[Recovered] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    not_run: list[Decision] = field(default_factory=list)

    def of(self, *results: str) -> list[Ended]:
        return [item for item in self.ended if item.result in results]


def run(context: Context, watch: Watch, report: Report, log_file: Optional[str] = None) -> None:
    """Do everything that is to be done now. Raises Refused or FrontEndError when nothing could be begun."""
    report.idle = leader.obstacle(context)
    if report.idle:
        return
    try:
        with locks.timer(context.locks):
            _run(context, watch, report, log_file)
    except locks.Busy as error:
        report.idle = str(error)


def plan(context: Context, apps: Optional[list[App]] = None) -> Plan:
    """What a run would do now. `apps`: all there are, when the caller has just read them."""
    requests = {
        request.vm_id: _REQUEST_WORDS.get(request.reason, request.reason)
        for request in [*queue.waiting(context.where.queue), *queue.claimed(context.where.queue)]
    }
    return planner.of_pool(
        context.front_end,
        context.configuration,
        failures.load(context.where.failures),
        clock.now(),
        requests,
        planner.marketplaces(context.front_end),
        frozenset(item.vm_id for item in progress.running(context.where.progress)),
        catalogue.newest_times(cloud.apps(context) if apps is None else apps),
        frozenset(context.trusted_uids()),
    )


def elsewhere(context: Context, known: dict[int, Decision], own: set[int]) -> list[Decision]:
    """The backups that somebody else is running: by hand, or a hook's worker. `known`: the plan, by VM id."""
    others = [item.vm_id for item in progress.running(context.where.progress) if item.vm_id not in own]
    return [known.get(vm_id) or schedule.stand_in(vm_id) for vm_id in others]


def _run(context: Context, watch: Watch, report: Report, log_file: Optional[str]) -> None:
    work = _Work(context, _look(context, report), report, log_file)
    try:
        work.do(watch)
    except BaseException:
        with signals.deferred():
            work.stop()
        raise


def _look(context: Context, report: Report) -> Plan:
    """Put right what dead runs left, see what there is to do, and do what is no backup."""
    report.recovered += _touched(recover.everything(context))
    apps = cloud.apps(context)
    privacy.close(context, apps)
    made = plan(context, apps)
    report.recovered += _touched(strays.everything(context, machines=made.machines, apps=apps))
    _note_bad(context, made, report)
    _collect_requests(context, made)
    _sweep(context, made, report)
    return made


def _touched(found: list[Recovered]) -> list[Recovered]:
    return [item for item in found if not item.untouched]


def _note_bad(context: Context, made: Plan, report: Report) -> None:
    """A section that cannot be used is a failure like any other: reported, and then again more and more rarely."""
    _forget_gone(context, made)
    for decision in made.decisions:
        if decision.verdict == schedule.BAD:
            _ended(context, decision, report, children.FAILED, f"bad BACKUP section: {decision.reason}")


def _collect_requests(context: Context, made: Plan) -> None:
    """An ACTION="NOW" whose hook was lost, or is not installed."""
    for machine in made.machines:
        if judging.asks(machine.backup):
            try:
                context.log.info("%s", judging.look_at(context, machine.vm_id))
            except (errors.Error, OSError) as error:
                context.log.warning("The request of VM %s cannot be taken: %s", machine.vm_id, error)


def _sweep(context: Context, made: Plan, report: Report) -> None:
    """Restore points of terminated VMs whose time has come."""
    for swept in terminated.sweep(context, {machine.vm_id for machine in made.machines}):
        result = children.DONE if swept.good else children.FAILED
        report.ended.append(Ended(swept.vm_id, "", result, swept.message))
        context.log.info("VM %s: %s", swept.vm_id, swept.message)


def _forget_gone(context: Context, made: Plan) -> None:
    there = {decision.machine.vm_id for decision in made.decisions}
    known = failures.load(context.where.failures)
    kept = {vm_id: row for vm_id, row in known.items() if vm_id in there}
    if kept != known:
        _remember(context, kept)


def _ended(context: Context, decision: Decision, report: Report, result: str, message: str) -> None:
    machine = decision.machine
    report.ended.append(Ended(machine.vm_id, machine.name, result, message))
    context.log.info("VM %s (%s): %s: %s", machine.vm_id, machine.name, result, message)
    rows = failures.load(context.where.failures)
    before = rows.pop(machine.vm_id, None)
    if result in (children.FAILED, children.ATTENTION):
        key = retry.section_key(machine.backup)
        rows[machine.vm_id] = retry.failed(before, clock.now(), message, key)
    elif result == children.SKIPPED:
        rows.update({machine.vm_id: before} if before else {})
    if rows.get(machine.vm_id) != before:
        _remember(context, rows)


def _remember(context: Context, rows: dict[int, Failure]) -> None:
    try:
        failures.save(context.where.failures, rows)
    except OSError as error:
        context.log.error("What failed is not remembered: %s", errors.in_words(error))


class _Work:
    """The backups of one run: those that wait, in order, and those that are under way."""

    def __init__(self, context: Context, made: Plan, report: Report, log_file: Optional[str]):
        self._context, self._report, self._log_file = context, report, log_file
        self._take_up(made)
        self._running: list[Backup] = []
        self._worker: Optional[Child] = None
        self._finished_before = {item[0].request_id for item in queue.finished(context.where.queue)}
        self._began = clock.monotonic()

    def _take_up(self, made: Plan) -> None:
        self._known = {decision.machine.vm_id: decision for decision in made.decisions}
        self._waiting = [decision for decision in made.decisions if decision.runs]
        self._limits = schedule.limits(self._context.configuration, made.decisions)
        self._looked = clock.monotonic()

    def do(self, watch: Watch) -> None:
        if queue.waiting(self._context.where.queue):
            with signals.deferred():
                self._worker = children.start_worker()
        while True:
            with signals.deferred():  # what was started is known, and what has ended is reported
                self._collect()
                self._start()
            if self._waiting and clock.monotonic() - self._looked > _LOOK_AGAIN_S:
                self._look_again()
            if not self._running and self._worker is None:
                break  # what waits now waits for others: the next run takes it up
            watch(progress.running(self._context.where.progress))
            clock.sleep(_PAUSE_S)
        self._report.not_run += self._waiting

    def stop(self) -> None:
        """Pass the end on: every child undoes what it has begun, and that is waited for."""
        if self._worker is not None:
            self._worker.terminate()
        for backup in self._running:
            backup.child.terminate()
        deadline = clock.monotonic() + self._context.timeouts.undo_in_all_s
        while (self._running or self._worker is not None) and clock.monotonic() < deadline:
            self._collect()
            clock.sleep(_PAUSE_S)
        for backup in self._running:
            machine = backup.decision.machine
            message = f"process {backup.child.pid} is still undoing its backup; look at: onebackup status"
            self._report.ended.append(Ended(machine.vm_id, machine.name, children.ATTENTION, message))
        self._report.not_run += self._waiting

    def _collect(self) -> None:
        for backup in list(self._running):
            ended = backup.ended()
            if ended is not None:
                self._running.remove(backup)
                _ended(self._context, backup.decision, self._report, ended.result, ended.message)
        if self._worker is not None and self._worker.result() is not None:
            self._worker = None
            self._report.ended += self._served()

    def _served(self) -> list[Ended]:
        ended = []
        for request, _, outcome in queue.finished(self._context.where.queue):
            if request.request_id not in self._finished_before:
                result, _, message = outcome.partition(": ")
                known = {"done": children.DONE, "dropped": children.SKIPPED}
                ended.append(Ended(request.vm_id, "", known.get(result, children.FAILED), message or outcome))
        return ended

    def _start(self) -> None:
        if not self._waiting:
            return
        minutes, now = self._context.configuration.time_budget_minutes, clock.monotonic()
        if schedule.over_budget(self._began, now, minutes) or now - self._began > _LONGEST_S:
            return
        own = {backup.decision.machine.vm_id for backup in self._running}
        busy = [backup.decision for backup in self._running]
        busy += elsewhere(self._context, self._known, own)
        for decision in list(self._waiting):
            if not schedule.obstacle(decision, busy, self._limits):
                self._waiting.remove(decision)
                if self._still_runs(decision):
                    self._begin(decision)
                    busy.append(decision)

    def _look_again(self) -> None:
        try:
            self._take_up(_look(self._context, self._report))
        except errors.Error as error:  # what was due is still to be done
            self._looked = clock.monotonic()
            self._context.log.warning("Cannot look again at what is due: %s", error)

    def _still_runs(self, decision: Decision) -> bool:
        """A window may have closed while others were backed up."""
        around = Circumstances(self._context.configuration, clock.now(), {}, {})
        now = schedule.decide(decision.machine, around)
        if not now.runs:
            self._report.not_run.append(now)
            self._context.log.info("%s", explaining.line(now))
        return now.runs

    def _begin(self, decision: Decision) -> None:
        self._context.log.info("%s", explaining.line(decision))
        self._running.append(children.start(decision, self._log_file))
