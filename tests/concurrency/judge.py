# SPDX-License-Identifier: Apache-2.0
"""What must hold once everything is quiet, whoever did what meanwhile. Each function returns what does not."""

from __future__ import annotations

import json
import re
import time
from typing import Any, Optional

from lxml import etree

from onebackup_driver import queue
from sandbox.world import guest
from tests.concurrency.stage import DONE, Machine, Stage, Started
from tests.e2e import checks, machines
from tests.e2e.site import Result
from tests.faults import seen
from tests.faults.seen import Point

_TRACEBACK = ("Traceback (most recent call last)", "--- Logging error ---")
_ENDS = (0, 1, 3, 4, 143)
_COMMAND = "; to put it right: "


def quiet(stage: Stage, good_before: dict[str, dict[str, Any]], sample: Optional[Machine]) -> list[str]:
    """Wait until nothing is under way, let an admin mend what people broke, recover once on each front-end, and look.

    `good_before`: the restore points that were good when it was quiet last, by run; this dictionary is brought up to
    date. `sample`: the VM whose newest restore point is restored and compared.
    """
    stage.until_quiet()
    wrong = [text for item in stage.started for text in _told(item)]
    announced = {number for item in stage.started for number in _announced(item)}
    stage.started.clear()
    _mend(stage)
    for site in stage.sites:
        wrong += _recovered(site.onebackup("recover"))
    stage.until_quiet()
    points, listed = seen_points(stage), _listed(stage)
    wrong += _points(stage, points, listed)
    wrong += _kept(stage, good_before, points, listed, announced)
    wrong += _left(stage)
    for machine in stage.machines:
        wrong += _power(stage, machine)
        wrong += _records(stage, machine, points)
    wrong += [f"VM {machine.vm_id} was terminated and is {stage.sites[0].vm_state(machine.vm_id)}"
              for machine in stage.ended if stage.sites[0].vm_state(machine.vm_id) != DONE]  # fmt: skip
    wrong += _contents(stage, points, listed)
    for machine in stage.machines:
        wrong += _next_backup(stage, machine)
    if sample is not None:
        wrong += _restorable(stage, sample)
    wrong += _queue(stage)
    good_before.clear()
    good_before.update({item["run"]: item for item in _listed(stage) if not item["problems"]})
    stage.robbed.clear()
    return wrong


def _mend(stage: Stage) -> None:
    """Locks that people forgot, marketplaces that are off, sections that say nonsense."""
    stage.front_end.control("clear")
    stage.lead(0)
    for market in stage.markets:
        stage.try_call("one.market.enable", market, True)
    for machine in stage.machines:
        stage.try_call("one.vm.unlock", machine.vm_id)
        section = stage.sites[0].info("vm", machine.vm_id).find("USER_TEMPLATE/BACKUP")
        values = {str(item.tag): item.text or "" for item in section} if section is not None else {}
        values.update(FREQUENCY_SECONDS="86400", MARKETPLACE_ID=str(stage.markets[0]))
        values.pop("ACTION", None)
        text = ",".join(f'{key}="{text}"' for key, text in values.items())
        machines.backup_section(stage.sites[0], machine.vm_id, text)
    stage.until_quiet()  # hooks of these updates
    for number in stage.sites[0].ids("vm") - {machine.vm_id for machine in stage.machines}:
        stage.try_call("one.vm.action", "terminate-hard", number)  # what restores made


# -- what the processes said


def _told(item: Started) -> list[str]:
    out, err, code = item.text("out"), item.text("err"), item.code
    if any(sign in out + err for sign in _TRACEBACK):
        return [f"{item.what} said a traceback: {(out + err)[-1500:]}"]
    if item.struck:
        return []
    last = (err.strip().splitlines() or [""])[-1]
    runs_many = " run " in item.what or item.what.endswith(" run") or " recover " in item.what
    if code not in _ENDS:
        return [f"{item.what}: exit code {code}: {err[-800:]}"]
    if code and not runs_many and "ERROR: " not in last:
        return [f"{item.what}: exit code {code}, and its last line is {last!r}"]
    if code == 4 and not runs_many and _COMMAND not in last:
        return [f"{item.what}: exit code 4 without a command: {last!r}"]
    return []


def _announced(item: Started) -> list[int]:
    """The restore points that a good backup named."""
    if item.code != 0 or " backup " not in item.what:
        return []
    return [int(number) for number in re.findall(r"restore point (\d+) in marketplace", item.text("out"))]


def _recovered(result: Result) -> list[str]:
    return [] if result.code == 0 else [f"recover does not come to an end: {result}"]


def _queue(stage: Stage) -> list[str]:
    """The timer takes up what a worker that was killed had claimed; nothing is claimed, or due and not taken, then."""
    place = stage.hooked.state / "queue"
    began = time.time()
    result = stage.sites[0].onebackup("run")
    stage.until_quiet()
    wrong = [] if result.code == 0 else [f"the timer's run fails: {result}"]
    if place.exists():
        left = [*queue.claimed(place), *(item for item in queue.waiting(place) if item.not_before < began)]
        wrong += [f"a request is left in the queue: {item}" for item in left]
    return wrong


# -- restore points


def seen_points(stage: Stage) -> dict[str, Point]:
    """By run id, judged by the apps' attributes and the stored bytes alone."""
    found: dict[str, Point] = {}
    for site in stage.sites:
        found.update(seen.points(site))  # type: ignore[arg-type]  # a Place has of a Corner what this needs
    return found


def _listed(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(checks.good(stage.sites[0].onebackup("list", "--json")).out)
    return found


def _points(stage: Stage, points: dict[str, Point], listed: list[dict[str, Any]]) -> list[str]:
    wrong = [f"half a restore point is left: {point.app_ids} of run {run}: {point.fault}"
             for run, point in points.items() if point.fault and run not in stage.deleted_runs]  # fmt: skip
    for item in listed:
        point = points.get(item["run"])
        if not item["problems"] and (point is None or point.fault):
            wrong.append(f"list says {item['id']} is good, it is {point}")
        if item["problems"] and item["run"] not in stage.deleted_runs:
            wrong.append(f"restore point {item['id']} of VM {item['vm_id']} is damaged: {item['problems']}")
    return wrong


def _kept(stage: Stage, before: dict[str, dict[str, Any]], points: dict[str, Point], listed: list[dict[str, Any]],
          announced: set[int]) -> list[str]:  # fmt: skip
    """What was good, or was said to be made, is good or was replaced by a newer one of the same VM."""
    newest: dict[int, int] = {}
    for item in listed:
        if not item["problems"]:
            newest[item["vm_id"]] = max(newest.get(item["vm_id"], -1), item["id"])
    ended, wrong = {machine.vm_id for machine in stage.ended}, []
    for run, item in before.items():
        replaced = newest.get(item["vm_id"], -1) > item["id"] and not item["kept"]
        gone = run not in points or points[run].fault
        excused = run in stage.deleted_runs or item["marketplace_id"] in stage.deleted_markets or item["vm_id"] in ended
        if gone and not replaced and not excused:
            wrong.append(f"restore point {item['id']} of VM {item['vm_id']} was good and is lost; newest {newest}")
    there = {point.app_ids[-1]: run for run, point in points.items() if not point.fault}
    later = max([*newest.values(), -1])
    for number in announced - set(there):
        if later < number and not stage.deleted_runs and not stage.ended:
            wrong.append(f"exit 0 named restore point {number}, there are {sorted(there)}")
    return wrong


# -- what is left, and what is said


def _left(stage: Stage) -> list[str]:
    site, wrong = stage.sites[0], []
    for kind in ("template", "image"):
        for item in site.pool(kind):
            name = item.findtext("NAME", "")
            if " - BACKUP - " in name:
                wrong.append(f"left behind: {kind} {item.findtext('ID')} {name}")
            if " - RESTORED " in name and not _of_a_restored_vm(stage, kind, item):
                wrong.append(f"left behind by a restore: {kind} {item.findtext('ID')} {name}")
    journals = [path.name for place in stage.sites for path in place.journals() if not path.name.startswith(".")]
    return wrong + ([f"journals are left: {journals}"] if journals else [])


def _of_a_restored_vm(stage: Stage, kind: str, item: etree._Element) -> bool:
    """Whether a VM was made from it (also one that is DONE by now): images and templates of a good restore stay."""
    templates = {vm.findtext("TEMPLATE/TEMPLATE_ID") for vm in _all_vms(stage)}
    used = {disk.text for vm in _all_vms(stage) for disk in vm.findall("TEMPLATE/DISK/IMAGE_ID")}
    return item.findtext("ID") in (templates if kind == "template" else used)


def _all_vms(stage: Stage) -> etree._Element:
    return etree.fromstring(stage.call("one.vmpool.infoextended", -2, -1, -1, -2).encode())


def _power(stage: Stage, machine: Machine) -> list[str]:
    state = stage.sites[0].vm_state(machine.vm_id)
    if state == machine.wanted:
        return []
    return [f"VM {machine.vm_id} is {state}, its user wants {machine.wanted}"]


def _records(stage: Stage, machine: Machine, points: dict[str, Point]) -> list[str]:
    site, wrong = stage.sites[0], []
    told = site.info("vm", machine.vm_id).find("USER_TEMPLATE/ONEBACKUP")
    values = {str(item.tag): item.text or "" for item in told} if told is not None else {}
    good = {point.app_ids[-1]: list(point.app_ids) for point in points.values() if not point.fault}
    if values.get("STATE") == "RUNNING":
        wrong.append(f"ONEBACKUP of VM {machine.vm_id} still says that a backup runs: {values}")
    if machine.vm_id in stage.robbed:
        return wrong
    named = values.get("RESTORE_POINT")  # a verdict on BACKUP is OK too, and names none
    if values.get("STATE") == "OK" and named and int(named) not in good:
        wrong.append(f"ONEBACKUP of VM {machine.vm_id} says OK of a restore point that is not there: {values}")
    recorded = site.recorded(machine.vm_id)
    if recorded and good.get(recorded[-1]) != recorded:
        wrong.append(f"BACKUP of VM {machine.vm_id} names {recorded}, good are {good}")
    return wrong


# -- bytes


def _contents(stage: Stage, points: dict[str, Point], listed: list[dict[str, Any]]) -> list[str]:
    """The stored disks are what the guest had: whole and of one moment where the restore point says so."""
    by_vm, wrong = {machine.vm_id: machine for machine in stage.machines}, []
    for item in listed:
        machine, point = by_vm.get(item["vm_id"]), points.get(item["run"])
        if machine is None or machine.resized or point is None or point.fault or item["problems"]:
            continue
        stored = machines.stored_disks(stage.sites[0], point.app_ids[:-1])
        if machine.kind == "guest":
            evidence = guest.inspect(stored)
            if item["consistency"] == "OFF" and not evidence.consistent:
                wrong.append(f"restore point {item['id']} says {item['mode']} and OFF, its disks are {evidence}")
        elif machine.contents is not None and machines.contents(stored) != machine.contents:
            wrong.append(f"restore point {item['id']} of VM {item['vm_id']} has other bytes than the VM")
    return wrong


def _next_backup(stage: Stage, machine: Machine) -> list[str]:
    site = stage.sites[0]
    result = site.onebackup("backup", machine.vm_id, "--force")
    if result.code:
        return [f"the next backup of VM {machine.vm_id} fails: {result}"]
    state = site.user_template(machine.vm_id, "ONEBACKUP/STATE")
    if state != "OK":
        return [f"exit 0, and ONEBACKUP of VM {machine.vm_id} is {state}"]
    points = seen_points(stage)
    good = [list(point.app_ids) for point in points.values() if not point.fault]
    if site.recorded(machine.vm_id) not in good:
        return [f"exit 0, BACKUP of VM {machine.vm_id} names {site.recorded(machine.vm_id)}, good are {good}"]
    return _power(stage, machine)


def _restorable(stage: Stage, machine: Machine) -> list[str]:
    site = stage.sites[0]
    result = site.onebackup("restore", machine.vm_id, "-d", "default", "--no-start")
    if result.code:
        return [f"VM {machine.vm_id} cannot be restored: {result}"]
    new = checks.restored(result)
    images, apps = checks.image_disks(site, new), site.recorded(machine.vm_id)[:-1]
    same = machines.contents(images) == machines.contents(machines.stored_disks(site, apps))
    site.call("one.vm.action", "terminate-hard", new)
    return [] if same else [f"VM {machine.vm_id} comes back with other bytes"]
