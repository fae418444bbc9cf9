# SPDX-License-Identifier: Apache-2.0
"""One case of the matrix: a scenario, a step, a fault; then the invariants."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from sandbox.process import Refused
from tests.e2e import machines
from tests.e2e.site import wait
from tests.faults import invariants, requests, scenarios, seen
from tests.faults.corner import Corner
from tests.faults.fork_server import Ended
from tests.faults.invariants import Facts
from tests.faults.meddling import Meddler
from tests.faults.rig import Rig
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.settling import settle
from tests.faults.striking import Striker

#: A VM whose poweroff never reached the front-end is watched for half of this.
_SOON: dict[str, float] = {"power_off_s": 6, "power_on_s": 6}
#: Requests that could not be begun wait for a minute.
_LATER_S = 120
#: Short deadlines where a fault needs them to be waited for.
_TIMEOUTS: dict[str, dict[str, float]] = {
    "hang": {"call_s": 1.5, **_SOON}, "hang-after": {"call_s": 1.5, **_SOON}, "late": {"call_s": 10},
    "cut-before": _SOON, "front-end-dies-before": _SOON,
    "front-end-stays-away": {"call_s": 2, "patience_s": 1, "undo_s": 2},
    "machine-too-slow": {"power_off_s": 2, "power_on_s": 2, "save_disk_s": 2, "upload_s": 2, "download_s": 2,
                         "boot_s": 2, "undo_s": 20},
    "refuse-2048-for-good": {"undo_s": 1}, "refuse-8192-for-good": {"undo_s": 1},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    version: str
    scenario: str
    step: str
    fault: str

    def __str__(self) -> str:
        return f"{self.version} {self.scenario} {self.step} {self.fault}"

    @classmethod
    def parse(cls, text: str) -> Case:
        return cls(*text.split()[:4])


@dataclass
class Outcome:
    """`wrong`: sentences about broken invariants. `skipped`: why it could not be tried. `said`: what the admin read."""

    case: Case
    wrong: list[str] = field(default_factory=list)
    skipped: str = ""
    said: str = ""
    seconds: float = 0.0


def run(rig: Rig, case: Case) -> Outcome:
    """Try one case; a VM that is not as it was afterwards is not used again."""
    began, outcome = time.monotonic(), Outcome(case)
    scenario = SCENARIOS[case.scenario]
    fit = False
    try:
        fit = _run(rig, case, scenario, outcome)
    except Exception as error:
        outcome.wrong.append(f"the case broke off: {error!r}"[:1500])
    if outcome.wrong or not fit:
        rig.discard(scenario.fixture)
    outcome.seconds = time.monotonic() - began
    return outcome


def _run(rig: Rig, case: Case, scenario: Scenario, outcome: Outcome) -> bool:
    site, vm_id = rig.fixture(scenario.fixture)
    requests.forget(site)
    scenarios.prepare(rig, site, vm_id, scenario)
    old_apps = site.recorded(vm_id)
    before = seen.look(site, vm_id)
    rig.configure(site)
    scenarios.prelude(rig, site, vm_id, scenario)
    scenarios.log_file(site).unlink(missing_ok=True)
    rig.configure(site, **_TIMEOUTS.get(case.fault, {}))
    meddler = Meddler(site, vm_id, before.things, old_apps)
    with requests.no_worker(site, scenario.command):
        struck = _strike(rig, case, scenario, site, vm_id, meddler, outcome)
    meddler.overtaken_by(case.step)
    full = _recover_on_a_full_disk(rig, site) if case.fault == "disk-full-in-recover" else []
    rig.heal()
    rig.configure(site)
    facts = Facts(case.fault, scenario.restores, before, struck, seen.look(site, vm_id), _log(site),
                  meddler.left_power, meddler.took_all or _too_late(case), full)  # fmt: skip
    outcome.said = struck.err or struck.out
    if scenario.removes:
        return _removal_ends(rig, site, vm_id, facts, meddler, outcome)
    if scenario.queues:
        outcome.wrong += invariants.traceback_of(struck, *full)
    elif scenario.prelude is None and not full:
        outcome.wrong += invariants.at_once(facts)
    if scenario.command == "hook" and not (requests.asked(site, vm_id) or requests.open_ones(site)):
        outcome.wrong.append(f"the request is lost: {struck}")
    _recover(rig, site, vm_id, facts)
    if facts.fault.startswith("vm-locked") and site.journals():
        site.call("one.vm.unlock", vm_id)  # until whoever locked it does so, ONEBACKUP cannot be corrected
        _recover(rig, site, vm_id, facts)
    meddler.make_up()
    if scenario.queues:
        _queue_ends(rig, site, vm_id, scenario, facts, outcome)
    facts.finally_ = _settled(site, vm_id, facts)
    outcome.wrong += invariants.after_recover(facts)
    if scenario.restores:
        scenarios.clear_restored(site, before, vm_id)
    return facts.finally_.vm != machines.DONE and meddler.left_power is None and _next_backup(
        rig, site, vm_id, facts, outcome
    )


def _recover_on_a_full_disk(rig: Rig, site: Corner) -> list[Ended]:
    """What has to hold then is what holds whenever a recover could not do its work: it can be done later."""
    return [rig.run(site, ["recover"])]


def _queue_ends(rig: Rig, site: Corner, vm_id: int, scenario: Scenario, facts: Facts, outcome: Outcome) -> None:
    """Whoever works next ends every request, and what is noted about it is true."""
    try:
        site.call("one.vm.unlock", vm_id)
    except Refused:
        pass
    arguments: list[object] = ["run"] if scenario.command == "hook" else ["work"]
    for _ in range(3):
        last = rig.run(site, arguments, clock_s=_LATER_S)
        facts.recovers.append(rig.run(site, ["recover"]))
        if not requests.open_ones(site):
            break
    now = seen.look(site, vm_id)
    outcome.wrong += invariants.traceback_of(last)
    outcome.wrong += invariants.queue_story(facts, now, requests.open_ones(site), requests.outcomes(site))
    if requests.asked(site, vm_id) and now.vm != machines.DONE:
        outcome.wrong.append(f"BACKUP still has ACTION=NOW: {last}")


def _removal_ends(rig: Rig, site: Corner, vm_id: int, facts: Facts, meddler: Meddler, outcome: Outcome) -> bool:
    """Never half a restore point; and the next run of the timer ends what is left. The VM is used up."""
    _recover(rig, site, vm_id, facts)
    facts.finally_ = seen.look(site, vm_id)
    outcome.wrong += invariants.removing(facts)
    meddler.make_up()
    last = rig.run(site, ["run"])
    facts.finally_ = seen.look(site, vm_id)
    left = [] if facts.fault == "old-apps-deleted" else list(facts.finally_.points.values())  # no catalogue knows them
    if last.code != 0 or left or facts.finally_.things["journals"]:
        outcome.wrong.append(f"the next run does not end it: {last}, {left}")
    return False


def _strike(rig: Rig, case: Case, scenario: Scenario, site: Corner, vm_id: int, meddler: Meddler,
            outcome: Outcome) -> Ended:
    arguments = scenario.arguments(site, vm_id)
    if case.step.startswith("file:"):
        ended = rig.run(site, arguments, None, {"step": case.step, "fault": case.fault})
        if case.step not in ended.file_steps:
            outcome.skipped = "the run did not come to this step"
        return ended
    striker = Striker(rig, case.step, case.fault, meddler)
    ended = rig.run(site, arguments, striker)
    if striker.problems:
        raise striker.problems[0]
    if not striker.hit:
        outcome.skipped = "the run did not come to this step"
    return ended


def _too_late(case: Case) -> bool:
    """The new restore point is deleted by somebody while the run deletes what it replaces: nothing can be saved."""
    deleting = case.step.startswith("one.marketapp.delete") or case.scenario == "recover-deleting"
    return case.fault.startswith("new-apps-deleted") and deleting


def _log(site: Corner) -> str:
    path = scenarios.log_file(site)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _recover(rig: Rig, site: Corner, vm_id: int, facts: Facts) -> None:
    """At most twice; in between what the admin is told to do is done."""
    _obey(site, vm_id, invariants.command(facts.struck) if facts.struck.code == 4 else "")
    for _ in range(2):
        ended = rig.run(site, ["recover"])
        facts.recovers.append(ended)
        if ended.code == 0:
            return
        _obey(site, vm_id, invariants.command(ended))


def _obey(site: Corner, vm_id: int, command: str) -> None:
    """Do what a message tells the admin to do, as far as it is not recover itself."""
    for part in command.split(" && "):
        told = re.fullmatch(r"(onevm|onemarketapp) (unlock|resume) (\d+)", part.strip())
        if told is None:
            continue
        if told[2] == "unlock":
            site.call(f"one.{told[1].removeprefix('one')}.unlock", int(told[3]))
        else:
            site.call("one.vm.action", "resume", int(told[3]))
            wait("the VM to run", lambda: site.vm_state(vm_id) == machines.RUNNING)


def _settled(site: Corner, vm_id: int, facts: Facts) -> seen.Seen:
    """The front-end may take a moment to be rid of what was deleted."""
    last: list[seen.Seen] = []

    def quiet() -> bool:
        last[:] = [seen.look(site, vm_id)]
        facts.finally_ = last[0]
        return not invariants.after_recover(facts)

    settle(quiet, 2.0)
    return last[0]


def _next_backup(rig: Rig, site: Corner, vm_id: int, facts: Facts, outcome: Outcome) -> bool:
    """The invariant that a next backup succeeds; it also leaves the VM as the next case wants it."""
    try:
        site.call("one.vm.unlock", vm_id)
    except Exception:
        pass
    if "section" in facts.fault:
        machines.backup_section(site, vm_id, f'FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{site.market}"')
    if facts.fault.startswith("clock") and facts.restores:
        return True
    ended = rig.run(site, ["backup", vm_id, "--force"])
    now = seen.look(site, vm_id)
    if ended.code != 0:
        outcome.wrong.append(f"the next backup fails: {ended}")
        return False
    good = list(now.good.values())
    if [list(point.app_ids) for point in good if point.run not in facts.before.points][-1:] != [now.recorded]:
        outcome.wrong.append(f"the next backup recorded {now.recorded}, good are {good}")
    return len(now.points) == len(good) == 1 and not now.things["journals"]
