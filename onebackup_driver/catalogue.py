# SPDX-License-Identifier: Apache-2.0
"""All restore points, read from the apps' own attributes; never from a VM's USER_TEMPLATE.

An app counts only when somebody we trust owns it: its attributes could otherwise be made up to have another user's
restore point deleted or a strange disk restored (opennebula.md B14).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from onebackup_driver import manifest, names, states, xml_values
from onebackup_driver.app import App


@dataclass(frozen=True)
class RestorePoint:
    """One completed backup. `problems` is empty when it can be restored; its id is that of its VMTEMPLATE app."""

    vm_app: App
    disks: tuple[tuple[manifest.SavedDisk, Optional[App]], ...]
    problems: tuple[str, ...]

    @property
    def backup_id(self) -> int:
        return self.vm_app.app_id

    @property
    def run(self) -> str:
        return self.vm_app.tags.get("RUN", "")

    @property
    def vm_id(self) -> int:
        return _number(self.vm_app, "VM_ID")

    @property
    def vm_started(self) -> int:
        return _number(self.vm_app, "VM_STARTED")

    @property
    def time(self) -> int:
        return _number(self.vm_app, "TIME")

    @property
    def size_mb(self) -> int:
        return sum(saved.size_mb for saved, _ in self.disks)

    @property
    def kept(self) -> bool:
        """Whether retention must leave it alone: a oneshot, or kept on purpose."""
        return any(self.vm_app.tags.get(key, "").upper() == "YES" for key in ("ONESHOT", "KEEP"))

    @property
    def app_ids(self) -> list[int]:
        """Image apps in the order of the disks, the VMTEMPLATE app last: as MARKETPLACE_APP_IDS lists them."""
        return [saved.app_id for saved, _ in self.disks] + [self.backup_id]


def build(apps: list[App], trusted_uids: set[int]) -> list[RestorePoint]:
    """The restore points among `apps`, oldest first."""
    trusted = {app.app_id: app for app in apps if app.uid in trusted_uids}
    points = [
        _restore_point(app, trusted)
        for app in trusted.values()
        if app.kind == states.APP_TYPE_VMTEMPLATE
        and app.tags.get("ROLE") == manifest.ROLE_VM
        and names.is_run(app.tags.get("RUN", ""))
    ]
    return sorted(points, key=lambda point: (point.time, point.backup_id))


def of_vm(points: list[RestorePoint], vm_id: int, vm_started: Optional[int] = None) -> list[RestorePoint]:
    """The restore points of one VM. With `vm_started` (its STIME) those of a reused id are left out."""
    return [
        point for point in points if point.vm_id == vm_id and (vm_started is None or point.vm_started == vm_started)
    ]


def newest_times(apps: list[App]) -> dict[tuple[int, int, int], int]:
    """When the newest complete restore point of each VM is of, by VM id, the VM's creation and the app's owner. It is
    for the caller to know whose apps count."""
    found: dict[tuple[int, int, int], int] = {}
    for app in apps:
        if app.kind != states.APP_TYPE_VMTEMPLATE or app.tags.get("ROLE") != manifest.ROLE_VM:
            continue
        key = (_number(app, "VM_ID"), _number(app, "VM_STARTED"), app.uid)
        found[key] = max(found.get(key, 0), _number(app, "TIME"))
    return found


def made_by(apps: list[App], run: str, trusted_uids: set[int]) -> list[App]:
    """Every app that a run made, the VMTEMPLATE app first: the order in which they may be deleted."""
    own = [app for app in apps if app.uid in trusted_uids and run and app.tags.get("RUN") == run]
    return sorted(own, key=lambda app: (app.kind != states.APP_TYPE_VMTEMPLATE, app.app_id))


def _restore_point(vm_app: App, apps: dict[int, App]) -> RestorePoint:
    saved_disks = manifest.read_disks(vm_app.element)
    disks = tuple(_with_app(saved, vm_app, apps) for saved in saved_disks)
    problems = [problem for saved, app in disks for problem in _disk_problems(saved, app)]
    if vm_app.state != states.APP_READY:
        problems.append(f"app {vm_app.app_id} is {states.app(vm_app.state)}")
    if not disks:
        problems.append(f"app {vm_app.app_id} names no disk")
    if manifest.read_vm(vm_app.element) is None:
        problems.append(f"app {vm_app.app_id} carries no readable VM")
    found = vm_app.tags.get("FORMAT", "")
    if found != manifest.FORMAT:
        problems.append(f"app {vm_app.app_id} has the format {found!r}, this version reads {manifest.FORMAT}")
    return RestorePoint(vm_app, disks, tuple(problems))


def _with_app(saved: manifest.SavedDisk, vm_app: App, apps: dict[int, App]) -> tuple[manifest.SavedDisk, Optional[App]]:
    """A disk and its app; where the catalogue was made anew (another database, another zone) the app has a new id."""
    app = _image_app(apps.get(saved.app_id), saved, vm_app)
    if app is None and saved.app_id >= 0 and saved.app_name:
        named = (item for item in apps.values() if item.name == saved.app_name)
        app = next((item for item in named if _image_app(item, saved, vm_app)), None)
    return (saved, None) if app is None else (replace(saved, app_id=app.app_id), app)


def _image_app(app: Optional[App], saved: manifest.SavedDisk, vm_app: App) -> Optional[App]:
    if app is None or not app.tags.get("RUN") or app.tags.get("RUN") != vm_app.tags.get("RUN"):
        return None
    if app.tags.get("DISK_ID") != str(saved.disk_id):
        return None
    # A VM's owner who owns its restore point could name oneadmin's apps of another VM in it, to have them deleted.
    own = vm_app.uid in (0, app.uid)
    return app if own and app.marketplace_id == vm_app.marketplace_id else None


def _disk_problems(saved: manifest.SavedDisk, app: Optional[App]) -> list[str]:
    if app is None:
        return [f"app {saved.app_id} of disk {saved.disk_id} is gone"]
    if app.state != states.APP_READY:
        return [f"app {app.app_id} of disk {saved.disk_id} is {states.app(app.state)}"]
    if (app.md5, app.size_mb) != (saved.md5, saved.size_mb):
        return [f"app {app.app_id} of disk {saved.disk_id} is not what was saved (size or checksum changed)"]
    return []


def _number(app: App, key: str) -> int:
    value = xml_values.whole_number(app.tags.get(key, ""))
    return -1 if value is None else value
