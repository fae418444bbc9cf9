# SPDX-License-Identifier: Apache-2.0
"""What somebody else does to the objects of a run, in the middle of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from sandbox.process import Refused
from tests.e2e import machines
from tests.faults.corner import Corner


class Meddler:
    """`vm_id`: the VM that is backed up or restored; `before`: the objects that were there before the run."""

    def __init__(self, site: Corner, vm_id: int, before: dict[str, set[Any]], old_apps: list[int]) -> None:
        self.site, self.vm_id, self.before, self.old_apps = site, vm_id, before, old_apps
        self.took_all = False
        self.left_power: Optional[tuple[int, int]] = None
        self.deeds: dict[str, Callable[[], object]] = {
            "vm-terminated": lambda: self._power("terminate-hard", machines.DONE),
            "vm-resumed": lambda: self._power("resume", machines.RUNNING),
            "vm-powered-off": lambda: self._power("poweroff-hard", machines.POWEROFF),
            "vm-undeployed": lambda: self._power("undeploy-hard", machines.UNDEPLOYED),
            "vm-locked": lambda: self._try("one.vm.lock", vm_id, 1, False),
            "vm-renamed": lambda: self._try("one.vm.rename", vm_id, f"renamed-{vm_id}"),
            "backup-section-changed": lambda: self._section('FREQUENCY_SECONDS="7200",MARKETPLACE_ID="99999",MY="own"'),
            "backup-section-removed": lambda: self._section('FREQUENCY_SECONDS="x"'),
            "images-deleted": lambda: self._delete_new("image"),
            "new-apps-deleted": lambda: self._delete_new("marketapp"),
            "templates-deleted": lambda: self._delete_new("template"),
            "old-apps-deleted": lambda: self._all(old_apps[-1:], "one.marketapp.delete"),
            "old-apps-locked": lambda: self._all(old_apps, "one.marketapp.lock", 1, False),
            "marketplace-disabled": lambda: self._try("one.market.enable", site.market, False),
            "restored-vm-terminated": self._end_new_vms,
        }

    def meddle(self, name: str) -> None:
        self.deeds[name]()

    def overtaken_by(self, step: str) -> None:
        """An undeployed VM can be resumed as well: what was done right before that call, nobody could know of."""
        if step.startswith("one.vm.action:resume") and self.left_power == machines.UNDEPLOYED:
            self.left_power = None

    def make_up(self) -> None:
        """Take back what would keep the next case from its work; not what the deed did to the run."""
        self._try("one.market.enable", self.site.market, True)
        for app_id in self.site.apps():
            self._try("one.marketapp.unlock", app_id)

    def _power(self, action: str, state: tuple[int, int]) -> None:
        if self._try("one.vm.action", action, self.vm_id):
            machines.await_state(self.site, self.vm_id, state)
            self.left_power = state

    def _section(self, text: str) -> None:
        self._try("one.vm.update", self.vm_id, f"BACKUP=[{text}]", 1)

    def _new(self, kind: str) -> list[int]:
        return sorted(self.site.ids(kind) - self.before[kind])

    def _delete_new(self, kind: str) -> None:
        if kind == "marketapp" and self._new(kind) and not set(self.old_apps) & self.site.ids(kind):
            self.took_all = True
        self._all(self._new(kind), f"one.{kind}.delete")

    def _end_new_vms(self) -> None:
        for vm_id in self._new("vm"):
            if self._try("one.vm.action", "terminate-hard", vm_id):
                machines.await_state(self.site, vm_id, machines.DONE)

    def _all(self, numbers: list[int], method: str, *arguments: Any) -> None:
        for number in numbers:
            self._try(method, number, *arguments)

    def _try(self, method: str, *arguments: Any) -> bool:
        try:
            self.site.call(method, *arguments)
            return True
        except Refused:
            return False
