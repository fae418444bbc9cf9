# SPDX-License-Identifier: Apache-2.0
"""The runs that faults are tried on, and the recording of their steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tests.e2e import machines
from tests.faults import requests, seen
from tests.faults.corner import Corner
from tests.faults.meddling import Meddler
from tests.faults.rig import Rig
from tests.faults.striking import Striker


@dataclass(frozen=True)
class Scenario:
    """`command`: backup, restore, recover, run (the timer, which deletes the restore points of a terminated VM), work
    (a request waits in the queue) or hook (a user asks for a backup). `prelude`: the run that is killed first, at which
    step, and how. `market`: the kind of marketplace. `begins_at`: steps before this one are not tried."""

    name: str
    command: str
    options: tuple[str, ...] = ()
    prelude: Optional[tuple[str, str, str]] = None
    market: str = "http"
    begins_at: str = ""

    @property
    def fixture(self) -> str:
        """Scenarios with the same name here use the same VM."""
        own = self.name.removeprefix("backup-") if self.name in ("backup-suspend", "backup-live") else ""
        return f"{self.market}@{own or (self.name if self.name in ('removal', 'prune', 'work', 'hook') else '')}"

    @property
    def restores(self) -> bool:
        return self.command == "restore" or (self.prelude is not None and self.prelude[0] == "restore")

    @property
    def removes(self) -> bool:
        return self.command == "run"

    @property
    def queues(self) -> bool:
        return self.command in ("work", "hook")

    def arguments(self, site: Corner, vm_id: int) -> list[object]:
        if self.command == "hook":
            return ["hook", "vm_update", requests.call_of_update(vm_id)]
        if self.command == "work":
            return ["work"]
        return [*_arguments(self.command, vm_id), *self.options, "--logger", log_file(site)]


def _arguments(command: str, vm_id: int) -> list[object]:
    if command in ("recover", "run"):
        return [command]
    return [command, vm_id, *(["--force"] if command == "backup" else ["-d", "default"])]


def log_file(site: Corner) -> Path:
    return site.state / "run.log"


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("backup", "backup"),
        Scenario("restore", "restore"),
        Scenario("removal", "run"),
        Scenario("backup-suspend", "backup", ("--mode", "SUSPEND")),
        Scenario("backup-live", "backup", ("--mode", "LIVE")),
        Scenario("backup-s3", "backup", market="s3"),
        Scenario("restore-s3", "restore", market="s3"),
        Scenario("backup-onebackup", "backup", market="onebackup"),
        Scenario("restore-onebackup", "restore", market="onebackup"),
        Scenario("prune", "backup", begins_at="one.marketapp.allocate.3"),
        Scenario("work", "work"),
        Scenario("hook", "hook"),
        Scenario("recover-template", "recover", (), ("backup", "one.template.allocate.1", "kill-after")),
        Scenario("recover-down", "recover", (), ("backup", "one.vm.action:poweroff.1", "kill-after")),
        Scenario("recover-saving", "recover", (), ("backup", "one.vm.disksaveas.2", "kill-before")),
        Scenario("recover-resuming", "recover", (), ("backup", "one.vm.action:resume.1", "kill-after")),
        Scenario("recover-uploading", "recover", (), ("backup", "one.marketapp.allocate.2", "kill-after")),
        Scenario("recover-complete", "recover", (), ("backup", "one.marketapp.allocate.3", "kill-after")),
        Scenario("recover-deleting", "recover", (), ("backup", "one.marketapp.delete.1", "kill-after")),
        Scenario("recover-restore", "recover", (), ("restore", "one.template.instantiate.1", "kill-after")),
    )
}


def prepare(rig: Rig, site: Corner, vm_id: int, scenario: Scenario) -> None:
    """What has to be there before a case is begun."""
    if scenario.removes:
        end_vm(rig, site, vm_id)
    if scenario.name == "prune":
        _two_points(rig, site, vm_id)
    if scenario.command == "hook":
        requests.ask(site, vm_id)


def prelude(rig: Rig, site: Corner, vm_id: int, scenario: Scenario) -> None:
    """Leave a run dead at its step, for a recover to find; or a request in the queue."""
    if scenario.command == "work":
        requests.add(site, vm_id)
    if scenario.prelude is None:
        return
    command, step, fault = scenario.prelude
    striker = Striker(rig, step, fault, None)
    ended = rig.run(site, [*_arguments(command, vm_id), "--logger", log_file(site)], striker)
    assert ended.code == -9 and striker.hit, (ended, striker.trace.steps)


def _two_points(rig: Rig, site: Corner, vm_id: int) -> None:
    """Two restore points that the next backup replaces, as when one could not be deleted the last time."""
    while len(seen.points(site)) < 2:
        ended = rig.run(site, ["backup", vm_id, "--force", "--keep-backup"])
        assert ended.code == 0, ended
    for app in site.pool("marketapp"):
        tags = app.find("TEMPLATE/ONEBACKUP")
        if app.findtext("MARKETPLACE_ID") == str(site.market) and tags is not None and tags.find("KEEP") is not None:
            text = ",".join(f'{item.tag}="{item.text or ""}"' for item in tags if item.tag != "KEEP")
            site.call("one.marketapp.update", int(app.findtext("ID", "")), f"ONEBACKUP=[{text}]", 1)


def record(rig: Rig, scenario: Scenario) -> dict[str, int]:
    """The steps of a clean run: API calls with their number of arguments, then file operations (0)."""
    site, vm_id = rig.fixture(scenario.fixture)
    prepare(rig, site, vm_id, scenario)
    prelude(rig, site, vm_id, scenario)
    before = seen.look(site, vm_id)
    striker = Striker(rig, "", "", None)
    with requests.no_worker(site, scenario.command):
        ended = rig.run(site, scenario.arguments(site, vm_id), striker)
    assert ended.code == 0, ended
    if scenario.restores:
        clear_restored(site, before, vm_id)
    if scenario.removes or scenario.queues:
        rig.discard(scenario.fixture)
    calls = list(striker.trace.steps)
    if scenario.begins_at:
        return {step: striker.trace.steps[step] for step in calls[calls.index(scenario.begins_at):]}
    return {**striker.trace.steps, **dict.fromkeys(ended.file_steps, 0)}


def end_vm(rig: Rig, site: Corner, vm_id: int) -> None:
    """The VM is terminated, and the site wants the restore points of such VMs deleted."""
    site.call("one.vm.action", "terminate-hard", vm_id)
    machines.await_state(site, vm_id, machines.DONE)
    rig.configure(site)


def clear_restored(site: Corner, before: seen.Seen, vm_id: int) -> None:
    """Take away what a good restore made."""
    meddler = Meddler(site, vm_id, before.things, [])
    for name in ("restored-vm-terminated", "templates-deleted", "images-deleted"):
        meddler.meddle(name)
