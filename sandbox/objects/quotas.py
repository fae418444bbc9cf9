# SPDX-License-Identifier: Apache-2.0
"""Quotas of users and groups: images and MB per datastore, VMs and their capacity. Usage is counted, not stored."""

from __future__ import annotations

from sandbox.core import errors, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record
from sandbox.core.template import attribute_xml
from sandbox.core.xml_text import tag
from sandbox.objects import generic

DONE = 6
Usage = dict[str, float]
METRICS = {"DATASTORE": ("IMAGES", "SIZE"), "VM": ("VMS", "CPU", "MEMORY")}
DEFAULT = -1.0


def _mine(holder: Record, record: Record) -> bool:
    return (record.uid if holder.kind == "user" else record.gid) == holder.id


def datastore_usage(front: Front, holder: Record) -> dict[str, Usage]:
    """Per datastore id, what the user or group has there."""
    found: dict[str, Usage] = {}
    for image in front.all("image"):
        if _mine(holder, image):
            usage = found.setdefault(str(image["datastore_id"]), {"IMAGES": 0, "SIZE": 0})
            usage["IMAGES"] += 1
            usage["SIZE"] += image["size"]
    return found


def vm_usage(front: Front, holder: Record) -> Usage:
    vms = [vm for vm in front.all("vm") if _mine(holder, vm) and vm["state"] != DONE]
    return {"VMS": len(vms), "CPU": sum(float(vm.template.get("CPU", "0")) for vm in vms),
            "MEMORY": sum(float(vm.template.get("MEMORY", "0")) for vm in vms)}


def check_image(front: Front, caller: Caller, datastore_id: int, size_mb: int) -> None:
    """Raises the refusal when one more image of this size is too much for the caller or the caller's group."""
    for holder in _holders(front, caller):
        limits = _limits(holder, "DATASTORE", str(datastore_id))
        used = datastore_usage(front, holder).get(str(datastore_id), {})
        _check(caller, holder, limits, used, {"IMAGES": 1, "SIZE": size_mb}, f"DATASTORE with ID: {datastore_id}")


def check_vm(front: Front, caller: Caller, cpu: float, memory_mb: float) -> None:
    """Raises the refusal when one more VM of this capacity is too much."""
    for holder in _holders(front, caller):
        wanted = {"VMS": 1.0, "CPU": cpu, "MEMORY": memory_mb}
        _check(caller, holder, _limits(holder, "VM", ""), vm_usage(front, holder), wanted, "VM")


def _holders(front: Front, caller: Caller) -> list[Record]:
    if caller.uid == 0 or caller.gid == 0:
        return []
    return [front.get("user", caller.uid), front.get("group", caller.gid)]


def _limits(holder: Record, kind: str, key: str) -> Usage:
    limits: Usage = holder.get("quotas", {}).get(kind, {}).get(key, {})
    return limits


def _check(caller: Caller, holder: Record, limits: Usage, used: Usage, wanted: Usage, where: str) -> None:
    for metric, amount in wanted.items():
        limit = limits.get(metric, DEFAULT)
        if limit >= 0 and used.get(metric, 0) + amount > limit:
            text = f"{holder.kind} [{holder.id}] limit of {limit:g} reached for {metric} quota in {where}"
            raise errors.CallError(errors.AUTHORIZATION, f"User [{caller.uid}] : {text}.")


def _set(kind: str) -> None:
    @method(f"one.{kind}.quota", "is")
    def quota(front: Front, caller: Caller, object_id: int, text: str) -> int:
        holder = front.get(kind, object_id)
        rights.require(caller, rights.ADMIN, holder)
        quotas = holder.fields.setdefault("quotas", {})
        template = generic.parsed(text, code=errors.ACTION)
        for name, metrics in METRICS.items():
            for vector in template.vectors(name):
                limits = quotas.setdefault(name, {}).setdefault(vector.get("ID", ""), {})
                limits.update({metric: float(vector[metric]) for metric in metrics if vector.get(metric)})
        front.save(holder)
        return object_id


for _kind in ("user", "group"):
    _set(_kind)


def xml(front: Front, holder: Record) -> str:
    """DATASTORE_QUOTA to IMAGE_QUOTA; oneadmin's usage is not counted."""
    datastores, machines = "", ""
    if holder.id != 0:
        used = datastore_usage(front, holder)
        limits: dict[str, Usage] = holder.get("quotas", {}).get("DATASTORE", {})
        for key in sorted({*used, *limits}):
            values = _shown(METRICS["DATASTORE"], limits.get(key, {}), used.get(key, {}))
            datastores += attribute_xml("DATASTORE", {"ID": key, **values})
        vms = vm_usage(front, holder)
        if vms["VMS"] or _limits(holder, "VM", ""):
            machines = attribute_xml("VM", _shown(METRICS["VM"], _limits(holder, "VM", ""), vms))
    return (tag("DATASTORE_QUOTA", datastores) + "<NETWORK_QUOTA></NETWORK_QUOTA>" + tag("VM_QUOTA", machines)
            + "<IMAGE_QUOTA></IMAGE_QUOTA>")


def _shown(metrics: tuple[str, ...], limits: Usage, used: Usage) -> dict[str, str]:
    values = {}
    for metric in metrics:
        values[metric] = f"{limits.get(metric, DEFAULT):g}"
        values[f"{metric}_USED"] = f"{used.get(metric, 0):g}"
    return values
