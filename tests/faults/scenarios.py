# SPDX-License-Identifier: Apache-2.0
"""The runs that faults are tried on, and the recording of their steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tests.e2e import machines
from tests.e2e.site import Site
from tests.faults import seen
from tests.faults.meddling import Meddler
from tests.faults.rig import Rig
from tests.faults.striking import Striker


@dataclass(frozen=True)
class Scenario:
    """`command`: backup, restore, recover, or run (the timer, which deletes the restore points of a terminated VM).
    `prelude`: the run that is killed first, at which step, and how."""

    name: str
    command: str
    options: tuple[str, ...] = ()
    prelude: Optional[tuple[str, str, str]] = None

    @property
    def fixture(self) -> str:
        """Scenarios with the same name here use the same VM."""
        return self.name if self.name in ("backup-suspend", "backup-live", "removal") else "machine"

    @property
    def restores(self) -> bool:
        return self.command == "restore" or (self.prelude is not None and self.prelude[0] == "restore")

    @property
    def removes(self) -> bool:
        return self.command == "run"

    def arguments(self, site: Site, vm_id: int) -> list[object]:
        return [*_arguments(self.command, vm_id), *self.options, "--logger", log_file(site)]


def _arguments(command: str, vm_id: int) -> list[object]:
    if command in ("recover", "run"):
        return [command]
    return [command, vm_id, *(["--force"] if command == "backup" else ["-d", "default"])]


def log_file(site: Site) -> Path:
    return site.location / "var" / "onebackup" / "run.log"


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("backup", "backup"),
        Scenario("restore", "restore"),
        Scenario("removal", "run"),
        Scenario("backup-suspend", "backup", ("--mode", "SUSPEND")),
        Scenario("backup-live", "backup", ("--mode", "LIVE")),
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


def prelude(rig: Rig, site: Site, vm_id: int, scenario: Scenario) -> None:
    """Leave a run dead at its step, for a recover to find."""
    if scenario.prelude is None:
        return
    command, step, fault = scenario.prelude
    striker = Striker(rig, step, fault, None)
    ended = rig.run(site, [*_arguments(command, vm_id), "--logger", log_file(site)], striker)
    assert ended.code == -9 and striker.hit, (ended, striker.trace.steps)


def record(rig: Rig, scenario: Scenario) -> dict[str, int]:
    """The steps of a clean run: API calls with their number of arguments, then file operations (0)."""
    site, vm_id = rig.fixture(scenario.fixture)
    if scenario.removes:
        end_vm(rig, site, vm_id)
    prelude(rig, site, vm_id, scenario)
    before = seen.look(site, vm_id)
    striker = Striker(rig, "", "", None)
    ended = rig.run(site, scenario.arguments(site, vm_id), striker)
    assert ended.code == 0, ended
    if scenario.restores:
        clear_restored(site, before, vm_id)
    if scenario.removes:
        rig.discard(scenario.fixture)
    return {**striker.trace.steps, **dict.fromkeys(ended.file_steps, 0)}


def end_vm(rig: Rig, site: Site, vm_id: int) -> None:
    """The VM is terminated, and the site wants the restore points of such VMs deleted."""
    site.call("one.vm.action", "terminate-hard", vm_id)
    machines.await_state(site, vm_id, machines.DONE)
    rig.configure(site)


def clear_restored(site: Site, before: seen.Seen, vm_id: int) -> None:
    """Take away what a good restore made."""
    meddler = Meddler(site, vm_id, before.things, [])
    for name in ("restored-vm-terminated", "templates-deleted", "images-deleted"):
        meddler.meddle(name)
