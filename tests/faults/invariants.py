# SPDX-License-Identifier: Apache-2.0
"""What must hold after any fault. Each function returns sentences about what does not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional

from tests.e2e import machines
from tests.faults.fork_server import Ended
from tests.faults.seen import Point, Seen

_TRACEBACK = ("Traceback (most recent call last)", "--- Logging error ---")
_COMMAND = "; to put it right: "


@dataclass
class Facts:
    """One case. `struck`: the run that met the fault (None: killed before it could say anything is `struck.code < 0`);
    `told_at_once`: what was seen right after it; `recovers`: the recovers that followed, and what was seen then."""

    fault: str
    restores: bool
    before: Seen
    struck: Ended
    at_once: Seen
    log: str
    power_left_by_others: Optional[tuple[int, int]] = None
    nothing_left_by_others: bool = False
    on_full_disk: list[Ended] = field(default_factory=list)
    recovers: list[Ended] = field(default_factory=list)
    finally_: Optional[Seen] = None

    @property
    def wanted_power(self) -> tuple[int, int]:
        """What somebody else did to the VM in the middle of the run is what they want."""
        return self.power_left_by_others or self.before.vm

    @property
    def killed(self) -> bool:
        return self.struck.code < 0


def at_once(facts: Facts) -> list[str]:
    """Right after the run, before anybody recovers."""
    wrong = traceback_of(facts.struck)
    wrong += _older_points(facts, facts.at_once)
    if facts.killed:
        return wrong
    wrong += _power_or_command(facts)
    by_code = {0: _good, 1: _failed, 2: _failed, 3: _failed, 4: _attention, 143: _failed}
    return wrong + by_code.get(facts.struck.code, _strange)(facts)


def after_recover(facts: Facts) -> list[str]:
    """Once recover has run (at most twice)."""
    now = facts.finally_
    assert now is not None
    wrong = _older_points(facts, now) + traceback_of(*facts.on_full_disk, *facts.recovers)
    if facts.recovers and facts.recovers[-1].code != 0:
        wrong.append(f"recover does not come to an end: {facts.recovers[-1]}")
    if now.vm != facts.wanted_power:
        wrong.append(f"the VM is {now.vm}, it should be {facts.wanted_power}")
    wrong += _nothing_of_ours(facts, now)
    wrong += _record(facts, now)
    if now.told.get("STATE") == "RUNNING" and now.vm != machines.DONE:
        wrong.append(f"ONEBACKUP still says that a backup runs: {now.told}")
    if now.told.get("STATE") == "OK" and now.vm != machines.DONE and not _told_point(now) and not _lost(facts):
        wrong.append(f"ONEBACKUP says OK of a restore point that is not there: {now.told}")
    return wrong


def traceback_of(*runs: Ended) -> list[str]:
    """No run ends in one, whatever happens."""
    return [f"said a traceback: {(ended.out + ended.err)[-700:]}" for ended in runs
            if any(sign in ended.out + ended.err for sign in _TRACEBACK)]  # fmt: skip


def queue_story(facts: Facts, now: Seen, left: list[str], outcomes: list[str]) -> list[str]:
    """The request was ended once, and what is noted about it is so."""
    wrong = [f"requests are left in the queue: {left}"] if left else []
    if len(outcomes) != 1:
        wrong.append(f"the request ended {len(outcomes)} times: {outcomes}")
    made = [outcome for outcome in outcomes if outcome.startswith("done") or "was made since" in outcome]
    if made and not _new_good(facts, now) and not facts.nothing_left_by_others:
        wrong.append(f"{made[0]!r}, and there is no new restore point: {now.points}")
    return wrong


def removing(facts: Facts) -> list[str]:
    """Restore points of a terminated VM are deleted: whole, or whole still there; and the exit code says which."""
    now, wrong = facts.finally_, traceback_of(facts.struck, *facts.on_full_disk, *facts.recovers)
    assert now is not None
    locked = facts.fault == "old-apps-locked"
    locked_midway = locked and facts.at_once.things["journals"]
    if not _lost(facts) and not locked_midway:
        wrong += [f"half a restore point is left: {point}" for point in now.points.values() if point.fault]
    if locked_midway and "to put it right: onemarketapp unlock " not in facts.struck.out + facts.struck.err:
        wrong.append(f"it does not say how to go on: {facts.struck}")
    if now.things["journals"] and not locked:
        wrong.append("a journal is left")
    kept_rightly = locked or facts.fault == "clock-back" or _lost(facts)
    if facts.struck.code == 0 and facts.at_once.points and not kept_rightly:
        wrong.append(f"exit 0, and there still is {facts.at_once.points}")
    return wrong


def command(ended: Ended) -> str:
    """What the admin is told to type; empty when nothing."""
    text = (ended.err + ended.out).strip()
    return text.splitlines()[-1].rpartition(_COMMAND)[2] if _COMMAND in text.splitlines()[-1:][0] else ""


# -- restore points


def _older_points(facts: Facts, now: Seen) -> list[str]:
    newer = {run for run in now.good if run not in facts.before.points}
    if newer or _lost(facts):
        return []
    return [f"restore point {point.app_ids} is {now.points[run].fault if run in now.points else 'gone'}"
            for run, point in facts.before.good.items() if run not in now.good]  # fmt: skip


def _lost(facts: Facts) -> bool:
    return facts.fault.startswith("old-apps-deleted") or facts.nothing_left_by_others


def _new_good(facts: Facts, now: Seen) -> list[Point]:
    return [point for run, point in now.good.items() if run not in facts.before.points]


# -- truth


def _power_or_command(facts: Facts) -> list[str]:
    if facts.at_once.vm == facts.wanted_power or facts.struck.code == 4:
        return []
    return [f"the VM is {facts.at_once.vm}, not {facts.wanted_power}, and the exit code is {facts.struck.code}"]


def _good(facts: Facts) -> list[str]:
    if facts.restores:
        return _good_restore(facts)
    wrong, now = [], facts.at_once
    new = _new_good(facts, now)
    if facts.nothing_left_by_others:
        return []
    if len(new) != 1:
        return [f"exit 0 with {len(new)} new restore points: {now.points}"]
    if now.vm != machines.DONE and now.recorded != list(new[0].app_ids) and "section" not in facts.fault:
        wrong.append(f"exit 0, BACKUP names {now.recorded}, the restore point is {new[0].app_ids}")
    if now.vm != machines.DONE and (now.told.get("STATE"), now.told.get("RUN")) != ("OK", new[0].run):
        wrong.append(f"exit 0 and ONEBACKUP says {now.told}")
    if now.things["journals"] and not now.told.get("WARNING"):
        wrong.append("exit 0 and a journal is left without a warning")
    if "FATAL" in facts.log:
        wrong.append("exit 0 and the log says FATAL")
    return wrong + ([] if now.told.get("WARNING") else _nothing_of_ours(facts, now))


def _good_restore(facts: Facts) -> list[str]:
    found = re.search(r"^ID: (\d+)\s*\Z", facts.struck.out, re.MULTILINE)
    new = facts.at_once.things["vm"] - facts.before.things["vm"]
    if not found:
        return ["exit 0 and no `ID: n` at the end"]
    return [] if int(found[1]) in new or "restored-vm" in facts.fault else [f"exit 0, {found[0]}, but new is {new}"]


def _failed(facts: Facts) -> list[str]:
    """Everything undone: nothing is left of this run, and it says so."""
    wrong = _error_line(facts.struck)
    wrong += _nothing_of_ours(facts, facts.at_once)
    if facts.at_once.things["journals"] and facts.at_once.told.get("STATE") != "RUNNING":
        wrong.append(f"exit {facts.struck.code} and a journal is left")
    if facts.struck.code == 1 and not facts.restores:
        wrong += _told_error(facts)
    if facts.struck.code == 1 and "FATAL" not in facts.log and "disk-full" not in facts.fault and _logs(facts):
        wrong.append(f"exit 1 and no FATAL in the log: {facts.log[-300:]}")
    return wrong


def _logs(facts: Facts) -> bool:
    return "no-" not in facts.fault


def _told_error(facts: Facts) -> list[str]:
    unheard = ("vm-terminated", "vm-locked", "refuse-", "front-end-stays-away")
    if facts.at_once.told.get("STATE") == "ERROR" or facts.fault.startswith(unheard):
        return []
    return [f"exit 1 and ONEBACKUP says {facts.at_once.told}"]


def _attention(facts: Facts) -> list[str]:
    wrong = _error_line(facts.struck)
    if not command(facts.struck):
        wrong.append(f"exit 4 without a command: {facts.struck.err[-500:]}")
    if not facts.at_once.things["journals"]:
        wrong.append("exit 4 and no journal for recover")
    return wrong


def _strange(facts: Facts) -> list[str]:
    return [f"exit code {facts.struck.code}: {facts.struck.err[-500:]}"]


def _error_line(ended: Ended) -> list[str]:
    lines = (ended.err or ended.out).strip().splitlines() or [""]
    return [] if "ERROR: " in lines[-1] or ended.out else [f"its last line is no error: {lines[-1]!r}"]


def _told_point(now: Seen) -> bool:
    return any(str(point.app_ids[-1]) == now.told.get("RESTORE_POINT") for point in now.good.values())


# -- what is left


def _nothing_of_ours(facts: Facts, now: Seen) -> list[str]:
    """No object of the run but what is part of a complete restore point (or of a restored VM that lives)."""
    wrong = [f"half a restore point is left: {point.app_ids}: {point.fault}" for run, point in now.points.items()
             if point.fault and not (_lost(facts) and run in facts.before.points)]  # fmt: skip
    lives = facts.restores and now.things["vm"] - facts.before.things["vm"]
    for kind, numbers in now.temporaries.items():
        left = numbers - facts.before.temporaries[kind]
        if left and not lives:
            wrong.append(f"left behind: {kind} {sorted(left)}")
    if now.things["vm"] - facts.before.things["vm"] and not facts.restores:
        wrong.append("a VM was made")
    if facts.finally_ is now and now.things["journals"]:
        wrong.append(f"journals are left: {[path.name for path in now.things['journals']]}")
    return wrong


def _record(facts: Facts, now: Seen) -> list[str]:
    """BACKUP names a restore point that is there."""
    if now.vm == machines.DONE or _lost(facts) or "section" in facts.fault:
        return []
    if any(now.recorded == list(point.app_ids) for point in now.good.values()):
        return []
    return [f"BACKUP names {now.recorded}, good are {[point.app_ids for point in now.good.values()]}"]
