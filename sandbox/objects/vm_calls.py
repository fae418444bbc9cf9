# SPDX-License-Identifier: Apache-2.0
"""The calls on VMs: pools, actions, update, saveas, snapshots, lock-independent odds and ends."""

from __future__ import annotations

from sandbox.core import errors, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.machines import vm_actions, vm_saveas, vm_snapshots, vm_states
from sandbox.objects import generic

ADMIN_ACTIONS = ("resched", "unresched")


def selected(front: Front, caller: Caller, who: int, start: int, end: int, state: int, query: str) -> list[Record]:
    """VMs of a pool call: `state` -2 all, -1 all but DONE, else that one; `query` is KEY=VALUE of the user template."""
    found = [vm for vm in front.all("vm") if rights.visible(caller, vm, who)]
    if state == -1:
        found = [vm for vm in found if vm["state"] != vm_states.DONE]
    elif state >= 0:
        found = [vm for vm in found if vm["state"] == state]
    return generic.page([vm for vm in found if _matches(vm, query)], start, end)


def _matches(vm: Record, query: str) -> bool:
    if not query:
        return True
    key, _, wanted = query.partition("=")
    path = key.split("/")[-1].upper()
    if "." in path:
        outer, inner = path.split(".", 1)
        return any(wanted in item.get(inner, "") for item in Template(vm["user_template"]).vectors(outer))
    if path == "NAME":
        return wanted in vm.name
    return wanted in Template(vm["user_template"]).get(path, "\0")


@method("one.vmpool.info", "iiii|s")
def pool(front: Front, caller: Caller, who: int, start: int, end: int, state: int, query: str = "") -> str:
    return generic.pool_xml(front, "vm", selected(front, caller, who, start, end, state, query))


@method("one.vmpool.infoextended", "iiii|s")
def pool_extended(front: Front, caller: Caller, who: int, start: int, end: int, state: int, query: str = "") -> str:
    return generic.pool_xml(front, "vm", selected(front, caller, who, start, end, state, query), extended=True)


@method("one.vmpool.infoset", "sb")
def pool_set(front: Front, caller: Caller, ids: str, extended: bool) -> str:
    wanted = {int(number) for number in ids.split(",") if number.strip().isdigit()}
    found = [vm for vm in front.all("vm") if vm.id in wanted and rights.visible(caller, vm, -2)]
    return generic.pool_xml(front, "vm", generic.page(found), extended)


def _get(front: Front, caller: Caller, vm_id: int, right: str = rights.MANAGE) -> Record:
    vm = front.get("vm", vm_id)
    rights.require(caller, right, vm)
    return vm


@method("one.vm.action", "si")
def action(front: Front, caller: Caller, name: str, vm_id: int) -> int:
    vm = _get(front, caller, vm_id, rights.ADMIN if name in ADMIN_ACTIONS else rights.MANAGE)
    if name not in vm_actions.ACTIONS:
        raise errors.action(f'Action "{name}" is not supported')
    try:
        vm_actions.ACTIONS[name](front, vm, caller)
    except vm_actions.Unavailable as error:
        raise errors.action(f'Error performing action "{name}": {error}') from None
    return vm_id


@method("one.vm.update", "is|i")
def update(front: Front, caller: Caller, vm_id: int, text: str, append: int = 0) -> int:
    vm = _get(front, caller, vm_id)
    if front.settings.modern:
        generic.parsed(text, code=errors.ACTION)
    template = generic.changed_template(front, caller, vm, Template(vm["user_template"]), text, append)
    if template.storable():
        vm["user_template"] = template.items
        front.save(vm)
    return vm_id


@method("one.vm.disksaveas", "iissi")
def disk_saveas(front: Front, caller: Caller, vm_id: int, disk_id: int, name: str, kind: str, snapshot: int) -> int:
    vm = _get(front, caller, vm_id)
    return vm_saveas.start(front, caller, vm, disk_id, name, kind, snapshot).id


@method("one.vm.disksnapshotcreate", "iis")
def snapshot_create(front: Front, caller: Caller, vm_id: int, disk_id: int, name: str) -> int:
    return vm_snapshots.create(front, caller, _get(front, caller, vm_id), disk_id, name)


@method("one.vm.disksnapshotdelete", "iii")
def snapshot_delete(front: Front, caller: Caller, vm_id: int, disk_id: int, number: int) -> int:
    vm_snapshots.delete(front, caller, _get(front, caller, vm_id), disk_id, number)
    return vm_id


@method("one.vm.disksnapshotrevert", "iii")
def snapshot_revert(front: Front, caller: Caller, vm_id: int, disk_id: int, number: int) -> int:
    vm_snapshots.revert(front, caller, _get(front, caller, vm_id), disk_id, number)
    return vm_id


@method("one.vm.disksnapshotrename", "iiis")
def snapshot_rename(front: Front, caller: Caller, vm_id: int, disk_id: int, number: int, name: str) -> int:
    vm = _get(front, caller, vm_id)
    for item in vm["snapshots"].get(str(disk_id), {"list": []})["list"]:
        if item["ID"] == str(number):
            item["NAME"] = name
            front.save(vm)
            return vm_id
    raise errors.action("Snapshot does not exist")
