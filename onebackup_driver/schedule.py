# SPDX-License-Identifier: Apache-2.0
"""Which VMs of the pool are backed up now, in which order, and how many at once. Every decision has its reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Optional

from onebackup_driver import errors, policy, retry, states, window
from onebackup_driver.app import Marketplace
from onebackup_driver.policy import Policy
from onebackup_driver.pool_vm import PoolVm
from onebackup_driver.retry import Failure
from onebackup_driver.site_rules import Configuration, Limits

DUE, NOT_DUE, EXCLUDED, REQUESTED = "due", "not due", "excluded", "requested"
CLOSED, FAILED_BEFORE, BAD = "outside its window", "failed before", "bad BACKUP section"

#: Jitter is at most this part of a VM's period.
_JITTER_PART = 10
_LOCK_BLOCKS = (1, 2, 3)
_DAY_S = 86400


@dataclass(frozen=True)
class Decision:
    """`at`: when it is or was due, or may be tried again (seconds since the epoch). `overdue`: in periods of the VM."""

    machine: PoolVm
    verdict: str
    reason: str
    at: int = 0
    overdue: float = 0.0
    marketplace_id: int = -1

    @property
    def runs(self) -> bool:
        """Whether a backup is to be started as soon as there is a slot."""
        return self.verdict == DUE


@dataclass(frozen=True)
class Circumstances:
    """What a decision depends on besides the VM. `requests`: VM id -> why, of those that wait in
    the queue: the worker carries them out. `marketplaces` None: not looked at. `busy`: VMs that are being backed up.
    `newest`: (VM id, when it was made, owner of the restore point) -> when its newest restore point is of."""

    site: Configuration
    now: int
    failures: Mapping[int, Failure]
    requests: Mapping[int, str]
    marketplaces: Optional[Mapping[int, Marketplace]] = None
    busy: frozenset[int] = frozenset()
    newest: Mapping[tuple[int, int, int], int] = field(default_factory=dict)
    own_uids: frozenset[int] = frozenset({0})


def decide(machine: PoolVm, around: Circumstances) -> Decision:
    """What is to happen to one VM, with the reason."""
    try:
        rules = policy.read(machine.vm_id, machine.backup, around.site)
        _check_marketplace(machine, rules, around)
    except errors.Refused as error:
        return _held_back(machine, around, Decision(machine, BAD, str(error)))
    due = _due(machine, rules, around)
    if machine.vm_id in around.busy:
        return replace(due, verdict=EXCLUDED, reason="a backup of it is running")
    if machine.vm_id in around.requests:
        return replace(due, verdict=REQUESTED, reason=f"requested: {around.requests[machine.vm_id]}")
    obstacle = _state_obstacle(machine) if due.runs else ""
    if obstacle:
        return replace(due, verdict=EXCLUDED, reason=obstacle)
    if due.runs:
        due = _held_back(machine, around, due)
    return _in_window(due, rules, around) if due.runs else due


def plan(machines: Iterable[PoolVm], around: Circumstances) -> list[Decision]:
    """The decisions about all VMs with a BACKUP section: first those to be run, in their order, then the others.

    The owners take turns, each with the most overdue of its VMs: nobody's thousand VMs, nor a LAST_BACKUP_TIME that
    somebody wrote, come before the one VM of another.
    """
    decisions = [decide(machine, around) for machine in machines if machine.backup is not None]
    turns: Counter[int] = Counter()
    ranked = []
    for decision in sorted(decisions, key=_rank):
        ranked.append((turns[decision.machine.uid] if decision.runs else 0, decision))
        turns[decision.machine.uid] += 1
    return [decision for _, decision in sorted(ranked, key=lambda item: (not item[1].runs, item[0], _rank(item[1])))]


def jitter_s(vm_id: int, day: int, longest_s: int) -> int:
    """By how much a VM is late on a day (days since the epoch): 0 to `longest_s`, the same at each asking."""
    if longest_s <= 0:
        return 0
    digest = hashlib.sha256(f"{vm_id} {day}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (longest_s + 1)


def obstacle(decision: Decision, running: Iterable[Decision], limits: Limits) -> str:
    """Why a backup has to wait for others to end; empty when it need not."""
    others = list(running)
    machine = decision.machine
    if len(others) >= limits.total:
        return f"{len(others)} backups are running (limits.total)"
    on_host = sum(other.machine.host_id == machine.host_id for other in others)
    if machine.host_id >= 0 and on_host >= limits.per_host:
        return f"{on_host} backups are running on host {machine.host_id} (limits.per_host)"
    for datastore_id in machine.datastore_ids:
        count = sum(datastore_id in other.machine.datastore_ids for other in others)
        if count >= limits.per_datastore:
            return f"{count} backups are running from datastore {datastore_id} (limits.per_datastore)"
    of_owner = sum(other.machine.uid == machine.uid for other in others)
    if 0 < limits.per_owner <= of_owner:
        return f"{of_owner} backups of VMs of user {machine.uid} are running (limits.per_owner)"
    into = sum(other.marketplace_id == decision.marketplace_id for other in others)
    if into >= limits.per_marketplace:
        return f"{into} backups are running into marketplace {decision.marketplace_id} (limits.per_marketplace)"
    return ""


def limits(site: Configuration, decisions: Iterable[Decision]) -> Limits:
    """The site's limits. Where VMs of several users are backed up, one user's cannot take every place, unless the site
    says how many they may take: who comes later would wait for the longest of them."""
    rules, owners = site.limits, {decision.machine.uid for decision in decisions}
    if rules.per_owner > 0:
        return rules
    return replace(rules, per_owner=max(1, rules.total - 1) if len(owners) > 1 else rules.total)


def slots(decisions: Iterable[Decision], running: Iterable[Decision], limits: Limits) -> dict[int, str]:
    """For each VM to be run, in order: why it would have to wait if all were started now; empty when it would not."""
    under_way, found = list(running), {}
    for decision in decisions:
        if decision.runs:
            found[decision.machine.vm_id] = why = obstacle(decision, under_way, limits)
            if not why:
                under_way.append(decision)
    return found


def over_budget(began: float, now: float, minutes: int) -> bool:
    """Whether a run that began then may start no more backups (both in the same seconds; 0 minutes: no limit)."""
    return minutes > 0 and now - began >= 60 * minutes


def _rank(decision: Decision) -> tuple[object, ...]:
    return (not decision.runs, -decision.overdue, decision.machine.vm_id)


def _due(machine: PoolVm, rules: Policy, around: Circumstances) -> Decision:
    now, last = around.now, rules.last_backup_time
    found = policy.due(rules, now)
    known_last = 0 < last <= now
    at = last + rules.frequency_s if known_last else min(machine.started or now, now)
    decision = Decision(machine, DUE, found.reason, at, (now - at) / rules.frequency_s, rules.marketplace_id)
    if not found.due:
        return replace(decision, verdict=NOT_DUE)
    allowed_at = _floor(machine, around)
    if allowed_at > now:
        reason = "its last restore point is younger than minimum_frequency_seconds, whatever LAST_BACKUP_TIME says"
        return replace(decision, verdict=NOT_DUE, reason=reason, at=allowed_at)
    longest_s = min(60 * around.site.jitter_minutes, rules.frequency_s // _JITTER_PART)
    late_at = at + jitter_s(machine.vm_id, at // _DAY_S, longest_s)
    if known_last and late_at > now:
        reason = "it is due, its start is spread (jitter_minutes)"
        return replace(decision, verdict=NOT_DUE, reason=reason, at=late_at)
    return decision


def _floor(machine: PoolVm, around: Circumstances) -> int:
    """From when on the site allows a backup: an owner can write any LAST_BACKUP_TIME, but no restore point away."""
    found = (around.newest.get((machine.vm_id, machine.started, uid), 0) for uid in {*around.own_uids, machine.uid})
    newest = max((time for time in found if time <= around.now), default=0)
    return newest + around.site.minimum_frequency_seconds if newest else 0


def _check_marketplace(machine: PoolVm, rules: Policy, around: Circumstances) -> None:
    if around.marketplaces is None:
        return
    marketplace = around.marketplaces.get(rules.marketplace_id)
    if marketplace is None:
        raise errors.Refused(
            f"BACKUP/MARKETPLACE_ID of VM {machine.vm_id}: there is no marketplace {rules.marketplace_id}"
        )
    policy.check_marketplace(marketplace, around.site)


def _state_obstacle(machine: PoolVm) -> str:
    if machine.state != states.RUNNING and machine.state not in states.AT_REST:
        return f"it is {machine.state}; it can be backed up when RUNNING, POWEROFF, SUSPENDED, STOPPED or UNDEPLOYED"
    if machine.lock_level in _LOCK_BLOCKS:
        return f"it is locked (onevm unlock {machine.vm_id})"
    if not machine.datastore_ids:
        return "it has no disk that can be saved"
    return ""


def _held_back(machine: PoolVm, around: Circumstances, decision: Decision) -> Decision:
    """The decision, or that it is too early after a failure."""
    failure = around.failures.get(machine.vm_id)
    at = retry.not_before(failure, retry.section_key(machine.backup), around.now, around.site.retry)
    if failure is None or not at:
        return decision
    times = "once" if failure.times == 1 else f"{failure.times} times in a row"
    return replace(decision, verdict=FAILED_BEFORE, reason=f"it failed {times}: {failure.reason}", at=at)


def _in_window(decision: Decision, rules: Policy, around: Circumstances) -> Decision:
    site = window.parse(around.site.window, around.site.time_zone)
    opens = window.next_common([site, rules.window], around.now)
    if opens == around.now:
        return decision
    if opens is None:
        reason = f"its WINDOW {rules.window.text} never meets the site's window {site.text}"
        return replace(decision, verdict=BAD, reason=reason)
    shut = f"the site's window is {site.text}" if not site.open_at(around.now) else f"its WINDOW is {rules.window.text}"
    return replace(decision, verdict=CLOSED, reason=shut, at=opens)


def stand_in(vm_id: int) -> Decision:
    """A VM of which nothing is known but that a backup of it runs."""
    return Decision(PoolVm(vm_id, "", -1, states.RUNNING, 0, -1, (), 0, 0, None, {}), DUE, "")
