# SPDX-License-Identifier: Apache-2.0
"""What a person with the front-end's own commands sees: restore points, the VM, everything a run could have left.

Nothing here asks onebackup: a restore point is judged by its apps' attributes and by the bytes that are stored.
"""

from __future__ import annotations

import hashlib
import http.client
from dataclasses import dataclass
from typing import Any

from lxml import etree

from tests.faults.corner import Corner

READY = "1"


@dataclass(frozen=True)
class Point:
    """The apps of one run. `fault`: why they are no good restore point; empty when they are one."""

    run: str
    app_ids: tuple[int, ...]
    fault: str


@dataclass
class Seen:
    """One look. `points` by run id; `things`: objects and files as Site.everything tells them."""

    points: dict[str, Point]
    things: dict[str, set[Any]]
    vm: tuple[int, int]
    recorded: list[int]
    told: dict[str, str]
    temporaries: dict[str, set[int]]

    @property
    def good(self) -> dict[str, Point]:
        return {run: point for run, point in self.points.items() if not point.fault}


def look(site: Corner, vm_id: int) -> Seen:
    things = site.everything()
    things["journals"] = {path for path in things["journals"] if not path.name.startswith(".")}
    machine = site.info("vm", vm_id)
    state = int(machine.findtext("STATE", "-1"))
    told = machine.find("USER_TEMPLATE/ONEBACKUP")
    ids = machine.findtext("USER_TEMPLATE/BACKUP/MARKETPLACE_APP_IDS") or ""
    return Seen(
        points(site),
        things,
        (state, int(machine.findtext("LCM_STATE", "0")) if state == 3 else 0),
        [int(item) for item in ids.split(",") if item],
        {str(item.tag): item.text or "" for item in told} if told is not None else {},
        {kind: _with_run_ids(site, kind) for kind in ("template", "image")},
    )


def points(site: Corner) -> dict[str, Point]:
    """Every run that has an app in this site's marketplace."""
    runs: dict[str, list[etree._Element]] = {}
    for app in site.pool("marketapp"):
        if app.findtext("MARKETPLACE_ID") == str(site.market):
            runs.setdefault(app.findtext("TEMPLATE/ONEBACKUP/RUN") or "no run", []).append(app)
    return {run: _point(site, run, apps) for run, apps in runs.items()}


def _point(site: Corner, run: str, apps: list[etree._Element]) -> Point:
    by_id = {int(app.findtext("ID", "")): app for app in apps}
    manifests = [app for app in apps if app.findtext("TEMPLATE/ONEBACKUP/ROLE") == "vm"]
    if len(manifests) != 1:
        return Point(run, tuple(sorted(by_id)), f"{len(manifests)} VM apps")
    disks = [int(item.findtext("APP_ID", "")) for item in manifests[0].findall("TEMPLATE/ONEBACKUP_DISK")]
    order = (*disks, int(manifests[0].findtext("ID", "")))
    if set(order) != set(by_id) or not disks:
        return Point(run, tuple(sorted(by_id)), f"apps {sorted(by_id)}, its VM app names {sorted(disks)}")
    faults = [_app_fault(site, by_id[number]) for number in order]
    return Point(run, order, "; ".join(filter(None, faults)))


def _app_fault(site: Corner, app: etree._Element) -> str:
    number = app.findtext("ID", "")
    if app.findtext("STATE") != READY:
        return f"app {number} has STATE {app.findtext('STATE')}"
    if app.findtext("TYPE") != "1":
        return ""
    try:
        content = site.stored(app)
    except (OSError, http.client.HTTPException) as error:
        return f"app {number}: {error}"
    same = hashlib.md5(content).hexdigest() == app.findtext("MD5")
    return "" if same else f"app {number}: what is stored has another MD5"


def _with_run_ids(site: Corner, kind: str) -> set[int]:
    """Objects under a name that a run of onebackup gives (docs/attributes.md)."""
    return {int(item.findtext("ID", "")) for item in site.pool(kind)
            if " - BACKUP - " in item.findtext("NAME", "") or " - RESTORED " in item.findtext("NAME", "")}  # fmt: skip
