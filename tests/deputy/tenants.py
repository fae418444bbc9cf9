# SPDX-License-Identifier: Apache-2.0
"""Users of the cloud who are no admins: one who attacks, one who is to notice nothing of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from lxml import etree

from tests.e2e import checks, machines
from tests.e2e.machines import ONE_DISK, Disk
from tests.e2e.site import Result, Site, unique

_PASSWORD = "secret"


@dataclass(frozen=True)
class Tenant:
    """A user with a group of its own. `call`: any API call with the tenant's own session."""

    site: Site
    name: str
    uid: int
    gid: int

    def call(self, method: str, *arguments: Any) -> Any:
        return self.site.front_end.call(method, *arguments, session=f"{self.name}:{_PASSWORD}")

    def update(self, vm_id: int, text: str) -> None:
        """Append to the user template of the tenant's own VM."""
        self.call("one.vm.update", vm_id, text, 1)

    def machine(self, disks: Sequence[Disk] = ONE_DISK, more: str = "", backup: str = "", **options: Any) -> int:
        """A VM of the tenant's, with images of its own."""
        backup = backup or 'FREQUENCY_SECONDS="86400"'
        vm_id = machines.machine(self.site, disks, more=more, backup=backup, **options)
        self.own("vm", vm_id)
        for disk in self.site.info("vm", vm_id).findall("TEMPLATE/DISK[IMAGE_ID]"):
            self.own("image", int(disk.findtext("IMAGE_ID", "")))
        return vm_id

    def own(self, kind: str, number: int) -> None:
        """The admin gives an object to the tenant."""
        self.site.call(f"one.{kind}.chown", number, self.uid, self.gid)

    def image(self) -> int:
        """An image that nobody but the tenant may use."""
        number = machines.image(self.site, Disk())
        self.own("image", number)
        return number

    def onebackup(self, *arguments: object, **options: Any) -> Result:
        """onebackup with the tenant's own session, configuration and state."""
        home = self.site.folder / self.name
        (home / "etc").mkdir(parents=True, exist_ok=True)
        (home / "one_auth").write_text(f"{self.name}:{_PASSWORD}\n")
        (home / "etc" / "onebackup.yaml").write_text(yaml.safe_dump(options))
        return self.site.onebackup(*arguments, ONE_AUTH=str(home / "one_auth"), ONE_LOCATION=str(home))


def new(site: Site, name: str) -> Tenant:
    gid = int(site.call("one.group.allocate", unique("group")))
    name = unique(name)
    return Tenant(site, name, int(site.call("one.user.allocate", name, _PASSWORD, "core", [gid])), gid)


@dataclass(frozen=True)
class Belongings:
    """Everything of a tenant's that an attack could touch: the VM, its restore points, its disks, the bytes."""

    vm_id: int
    app_ids: list[int]
    seen: dict[str, str]


def belongings(site: Site, vm_id: int, app_ids: list[int], *more: tuple[str, int]) -> Belongings:
    """What is there now; `more`: other objects, as kind and id."""
    objects = [("vm", vm_id), *(("marketapp", number) for number in app_ids), *more]
    seen = {f"{kind} {number}": _as_text(site.info(kind, number)) for kind, number in objects}
    for number in app_ids[:-1]:
        seen[f"bytes of {number}"] = hashlib.sha256(site.stored_file(number).read_bytes()).hexdigest()
    return Belongings(vm_id, app_ids, seen)


def untouched(site: Site, before: Belongings) -> None:
    """Nothing of it was deleted, changed, powered off or given to somebody, and its restore point is still good."""
    kinds = [(kind, int(number)) for kind, number in (key.split() for key in before.seen if key[:5] != "bytes")]
    others = [item for item in kinds if item[0] not in ("vm", "marketapp")]
    assert belongings(site, before.vm_id, before.app_ids, *others).seen == before.seen
    points = {point["id"]: point["problems"] for point in checks.listed(site, before.vm_id)}
    if before.app_ids:
        assert points.get(before.app_ids[-1]) == []


def _as_text(element: etree._Element) -> str:
    """An object without what changes by itself."""
    for path in ("LAST_POLL", "MONITORING", "RUNNING_VMS", "CLONING_OPS", "HISTORY_RECORDS/HISTORY/ETIME"):
        for found in element.findall(path):
            found.clear()
    return etree.tostring(element, encoding="unicode")
