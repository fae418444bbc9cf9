# SPDX-License-Identifier: Apache-2.0
"""Virtual networks: allocation, leases held by hand, deletion."""

from __future__ import annotations

from sandbox.core import errors, names, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.objects import addresses, generic, infrastructure, restricted

INIT, READY, LOCK_CREATE = 0, 1, 2


@method("one.vn.allocate", "s|i")
def allocate(front: Front, caller: Caller, text: str, cluster: int = -1) -> int:
    template = generic.parsed(text)
    restricted.refuse("vn", caller, template, "VirtualNetwork Template")
    rights.require_create(caller, "vn")
    name = template.take("NAME")
    problem = front.check_name("vn", name, caller.uid) or _incomplete(template)
    if problem:
        raise names.allocation_error("vn", problem, front.settings.modern)
    record = infrastructure.owned(front, caller, "vn", name, Template(), {})
    record.fields = {"clusters": [max(cluster, 0)], "bridge": template.take("BRIDGE"), "state": LOCK_CREATE,
                     "prev_state": LOCK_CREATE, "vn_mad": template.get("VN_MAD"),
                     "ranges": []}
    given = [item for item in template.remove("AR") if isinstance(item, dict)]
    record["ranges"] = addresses.ranges(given, front.settings.modern)
    if not template.has("SECURITY_GROUPS"):
        template.set("SECURITY_GROUPS", "0")
    record["bridge"] = record["bridge"] or f"onebr{record.id}"
    record.template = template
    template.add("BRIDGE", record["bridge"])
    template.add("BRIDGE_TYPE", "linux")
    front.spawn(f"vn {record.id}", lambda: _become_ready(front, record.id))
    return record.id


def _incomplete(template: Template) -> str:
    return "" if template.get("VN_MAD") else "No VN_MAD in template for Virtual Network."


def _become_ready(front: Front, network_id: int) -> None:
    front.wait("vnet")
    with front.transaction():
        make_ready(front, network_id)


def make_ready(front: Front, network_id: int) -> None:
    record = front.find("vn", network_id)
    if record is not None and record["state"] == LOCK_CREATE:
        record["prev_state"] = record["state"] = READY
        front.save(record)


@method("one.vn.delete", "i|b")
def delete(front: Front, caller: Caller, network_id: int, force: bool = False) -> int:
    record = front.get("vn", network_id)
    rights.require(caller, rights.MANAGE, record)
    if any(item["leases"] for item in record["ranges"]) and not force:
        raise errors.action("Cannot delete virtual network. Can not remove a virtual network with leases in use")
    front.drop(record)
    return network_id


@method("one.vn.hold", "is")
def hold(front: Front, caller: Caller, network_id: int, text: str) -> int:
    record = front.get("vn", network_id)
    rights.require(caller, rights.MANAGE, record)
    lease = generic.parsed(text).vector("LEASES") or {}
    if addresses.take(record, addresses.HOLD, lease.get("IP", ""), lease.get("MAC", "")) is None:
        raise errors.action(f"Cannot hold lease {lease.get('IP', lease.get('MAC', ''))} from virtual network")
    front.save(record)
    return network_id


@method("one.vn.release", "is")
def release(front: Front, caller: Caller, network_id: int, text: str) -> int:
    record = front.get("vn", network_id)
    rights.require(caller, rights.MANAGE, record)
    lease = generic.parsed(text).vector("LEASES") or {}
    mac = lease.get("MAC") or (addresses.mac_of_ip(lease["IP"]) if "IP" in lease else "")
    addresses.release(record, addresses.HOLD, mac)
    front.save(record)
    return network_id


@method("one.vn.add_ar", "is")
def add_range(front: Front, caller: Caller, network_id: int, text: str) -> int:
    record = front.get("vn", network_id)
    rights.require(caller, rights.ADMIN, record)
    for vector in generic.parsed(text).vectors("AR"):
        record["ranges"].append(addresses.make(len(record["ranges"]), vector, front.settings.modern))
    front.save(record)
    return network_id


def for_nic(front: Front, nic: dict[str, str], uid: int) -> Record:
    """The network a NIC vector names, by id or by name and owner; raises ValueError with oned's words."""
    if nic.get("NETWORK_ID"):
        record = front.find("vn", int(nic["NETWORK_ID"])) if nic["NETWORK_ID"].isdigit() else None
        if record is None:
            raise ValueError(f"Virtual network with ID: {nic['NETWORK_ID']} does not exist")
        return record
    owner = uid
    if nic.get("NETWORK_UID", "").isdigit():
        owner = int(nic["NETWORK_UID"])
    elif nic.get("NETWORK_UNAME"):
        user = front.by_name("user", nic["NETWORK_UNAME"])
        owner = user.id if user else -1
    record = front.by_name("vn", nic.get("NETWORK", ""), owner)
    if record is None:
        raise ValueError(f"User {uid} does not own a network with name: {nic.get('NETWORK', '')}"
                         " . Set NETWORK_UNAME or NETWORK_UID of owner in NIC.")
    return record
