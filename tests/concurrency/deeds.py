# SPDX-License-Identifier: Apache-2.0
"""What the actors do: onebackup's own commands, the user of the VMs, an admin, and death."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Optional

from sandbox.process import Refused
from tests.concurrency.stage import DONE, POWEROFF, RUNNING, SUSPENDED, UNDEPLOYED, Machine, Place, Stage
from tests.e2e import machines
from tests.e2e.site import unique

#: Does something and says what, and what came of it.
Deed = Callable[[Stage, random.Random], str]
#: No more runs at the same time, for two cores' sake.
LIMIT = 5


def _any(stage: Stage, chance: random.Random) -> Machine:
    return chance.choice(stage.machines)


def _begin(stage: Stage, site: Place, *arguments: object, vm_id: Optional[int] = None) -> str:
    if len(stage.running()) >= LIMIT:
        chosen = stage.running()[0]
        chosen.popen.wait(120)
    return stage.begin(site, *arguments, vm_id=vm_id).what


# -- onebackup


def back_up(stage: Stage, chance: random.Random) -> str:
    choices: list[list[object]] = [[], [], [], ["--keep-backup"], ["--oneshot", "--market", stage.markets[0]],
                                   ["--mode", "SUSPEND"], ["--mode", "LIVE,POWEROFF"]]  # fmt: skip
    options = chance.choice(choices)
    vm_id = _any(stage, chance).vm_id
    force = [] if "--oneshot" in options else ["--force"]
    return _begin(stage, stage.sites[0], "backup", vm_id, *force, *options, vm_id=vm_id)


def back_up_elsewhere(stage: Stage, chance: random.Random) -> str:
    vm_id = _any(stage, chance).vm_id
    return _begin(stage, stage.sites[1], "backup", vm_id, "--force", vm_id=vm_id)


def timer(stage: Stage, chance: random.Random) -> str:
    vm_id = _any(stage, chance).vm_id
    section = stage.sites[0].info("vm", vm_id).find("USER_TEMPLATE/BACKUP/LAST_BACKUP_TIME")
    if section is not None:
        with suppress(Refused):  # it is locked
            machines.make_due(stage.sites[0], vm_id)
    return _begin(stage, chance.choice(stage.sites), "run")


def restore(stage: Stage, chance: random.Random) -> str:
    vm_id = _any(stage, chance).vm_id
    return _begin(stage, chance.choice(stage.sites), "restore", vm_id, "-d", "default", vm_id=vm_id)


def recover(stage: Stage, chance: random.Random) -> str:
    return _begin(stage, chance.choice(stage.sites), "recover")


def look(stage: Stage, chance: random.Random) -> str:
    command = chance.choice([["list", "--json"], ["status", "--json"], ["plan", "--json"], ["recover", "--dry-run"]])
    return _begin(stage, chance.choice(stage.sites), *command)


# -- death


def _strike(stage: Stage, chance: random.Random, number: signal.Signals) -> str:
    found = stage.processes()
    if not found:
        return "nobody to strike"
    pid = chance.choice(sorted(found))
    stage.strike(pid, number)
    return f"{number.name} to pid {pid}"


def kill(stage: Stage, chance: random.Random) -> str:
    return _strike(stage, chance, signal.SIGKILL)


def terminate_process(stage: Stage, chance: random.Random) -> str:
    return _strike(stage, chance, signal.SIGTERM)


def fail_over(stage: Stage, chance: random.Random) -> str:
    which = chance.randrange(2)
    stage.lead(which)
    return f"{'AB'[which]} is the leader"


# -- the user


def act(stage: Stage, chance: random.Random) -> str:
    """A power action; what the front-end accepts is what the user wants."""
    ends = {"poweroff": POWEROFF, "resume": RUNNING, "suspend": SUSPENDED, "reboot": RUNNING, "undeploy": UNDEPLOYED}
    name = chance.choice(["poweroff", "poweroff", "resume", "resume", "resume", "suspend", "reboot", "undeploy"])
    machine = _any(stage, chance)
    refused = stage.try_call("one.vm.action", name, machine.vm_id)
    if not refused:
        machine.wanted = ends[name]
    return f"user: {name} {machine.vm_id} {refused}"


def shut_down_inside(stage: Stage, chance: random.Random) -> str:
    machine = _any(stage, chance)
    ended = stage.front_end.control("guest_ends", vm=machine.vm_id)["ended"]
    if ended:
        machine.wanted = POWEROFF
    return f"guest of {machine.vm_id} shuts itself down: {ended}"


def change(stage: Stage, chance: random.Random) -> str:
    """Something that is not about power."""
    machine = _any(stage, chance)
    vm_id = machine.vm_id
    calls: dict[str, tuple[Any, ...]] = {
        "rename": ("one.vm.rename", vm_id, unique("renamed")),
        "chmod": ("one.vm.chmod", vm_id, *([1] * 9)),
        "capacity": ("one.vm.resize", vm_id, 'MEMORY="80"', True),
        "migrate": ("one.vm.migrate", vm_id, chance.choice(stage.hosts["kvm" if machine.kind == "kvm" else "dummy"]),
                    chance.random() < 0.5),
        "disk": ("one.vm.diskresize", vm_id, 0, "6"),
    }  # fmt: skip
    name = chance.choice(sorted(calls))
    method, *arguments = calls[name]
    refused = stage.try_call(method, *arguments)
    if name == "disk" and not refused:
        machine.resized = True
    return f"user: {name} {vm_id} {refused}"


def lock(stage: Stage, chance: random.Random) -> str:
    vm_id = _any(stage, chance).vm_id
    if chance.random() < 0.5:
        return f"user: lock {vm_id} {stage.try_call('one.vm.lock', vm_id, chance.choice([1, 2]), False)}"
    return f"user: unlock {vm_id} {stage.try_call('one.vm.unlock', vm_id)}"


def ask(stage: Stage, chance: random.Random) -> str:
    """BACKUP/ACTION="NOW": the hook queues it, a worker carries it out."""
    vm_id = _any(stage, chance).vm_id
    section = f'ACTION="NOW",FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{chance.choice(stage.markets)}"'
    refused = stage.try_call("one.vm.update", vm_id, f"BACKUP=[{section}]", 1)
    stage.robbed.add(vm_id)  # what was recorded in it is gone until the next backup
    return f"user: asks for a backup of {vm_id} {refused}"


def change_section(stage: Stage, chance: random.Random) -> str:
    vm_id = _any(stage, chance).vm_id
    useful = f'FREQUENCY_SECONDS="7200",MARKETPLACE_ID="{chance.choice(stage.markets)}",MY="own"'
    section = chance.choice(['FREQUENCY_SECONDS="x"', 'FREQUENCY_SECONDS="3600",MARKETPLACE_ID="99999"', useful])
    stage.robbed.add(vm_id)
    return f"user: BACKUP=[{section}] of {vm_id} {stage.try_call('one.vm.update', vm_id, f'BACKUP=[{section}]', 1)}"


def end_vm(stage: Stage, chance: random.Random) -> str:
    machine, action = _any(stage, chance), chance.choice(["terminate", "terminate-hard"])
    refused = stage.try_call("one.vm.action", action, machine.vm_id)
    if not refused:
        machine.wanted = DONE
        stage.machines.remove(machine)
        stage.ended.append(machine)
        return f"user: {action} {machine.vm_id}; {stage.machine(machine.kind).vm_id} comes instead"
    return f"user: {action} {machine.vm_id} {refused}"


# -- an admin


def delete_app(stage: Stage, chance: random.Random) -> str:
    apps = [item for item in stage.sites[0].pool("marketapp") if item.find("TEMPLATE/ONEBACKUP") is not None]
    if not apps:
        return "no app to delete"
    app = chance.choice(apps)
    number, run = int(app.findtext("ID", "")), app.findtext("TEMPLATE/ONEBACKUP/RUN", "")
    refused = stage.try_call("one.marketapp.delete", number)
    if not refused:
        stage.deleted_runs.add(run)
        stage.robbed.add(int(app.findtext("TEMPLATE/ONEBACKUP/VM_ID", "-1")))
    return f"admin: deletes app {number} of run {run}, STATE {app.findtext('STATE')} {refused}"


def switch_market(stage: Stage, chance: random.Random) -> str:
    market, on = chance.choice(stage.markets), chance.random() < 0.6
    return f"admin: enable {market} {on} {stage.try_call('one.market.enable', market, on)}"


def delete_market(stage: Stage, chance: random.Random) -> str:
    """6.4 deletes what is in it, 7.4 refuses unless it is empty."""
    market = stage.markets[1]
    inside = [item for item in stage.sites[0].pool("marketapp") if item.findtext("MARKETPLACE_ID") == str(market)]
    refused = stage.try_call("one.market.delete", market)
    if not refused:
        stage.deleted_markets.add(market)
        stage.deleted_runs |= {item.findtext("TEMPLATE/ONEBACKUP/RUN", "") for item in inside}
        stage.robbed |= {machine.vm_id for machine in stage.machines}
        stage.markets[1] = stage.sites[1].market = stage.sites[1].make_market()
    return f"admin: deletes marketplace {market} {refused}"


DEEDS: list[tuple[int, Deed]] = [
    (10, back_up), (4, back_up_elsewhere), (5, timer), (4, restore), (2, recover), (2, look), (4, kill),
    (2, terminate_process), (1, fail_over), (8, act), (2, shut_down_inside), (6, change), (3, lock), (4, ask),
    (2, change_section), (1, end_vm), (2, delete_app), (2, switch_market), (1, delete_market),
]  # fmt: skip
