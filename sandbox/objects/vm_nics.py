# SPDX-License-Identifier: Apache-2.0
"""The NICs of a VM: leases taken, attributes from the network, security group rules."""

from __future__ import annotations

from sandbox.core.front import Front
from sandbox.core.record import Record, add_id, remove_id
from sandbox.objects import addresses, vnets

Nic = dict[str, str]


class NicProblem(Exception):
    """Why the VM cannot have its NICs, in oned's words."""


def acquire_all(front: Front, vm: Record, given: list[Nic], default: Nic) -> list[Nic]:
    """The finished NIC vectors. Raises NicProblem with nothing held."""
    nics: list[Nic] = []
    try:
        for number, wanted in enumerate(given):
            nics.append(acquire(front, vm, {**default, **wanted}, number))
    except NicProblem:
        release_all(front, vm)
        raise
    return nics


def acquire(front: Front, vm: Record, nic: Nic, number: int) -> Nic:
    """One NIC with its lease; NETWORK_MODE=auto waits for deployment."""
    nic["NIC_ID"] = str(number)
    nic.setdefault("NAME", f"NIC{number}")
    if nic.get("NETWORK_MODE", "").upper() == "AUTO" and "NETWORK_ID" not in nic:
        return nic
    if "NETWORK" not in nic and "NETWORK_ID" not in nic:
        return nic
    try:
        network = vnets.for_nic(front, nic, vm.uid)
    except ValueError as error:
        raise NicProblem(str(error)) from None
    return lease(front, vm, nic, network)


def lease(front: Front, vm: Record, nic: Nic, network: Record) -> Nic:
    held = addresses.take(network, vm.id, nic.get("IP", ""), nic.get("MAC", ""))
    if held is None:
        raise NicProblem(f"Cannot get IP/MAC lease from virtual network {network.id}.")
    held.pop("VM")
    groups = {int(group) for group in nic.get("SECURITY_GROUPS", "").split(",") if group.strip().isdigit()}
    groups |= {int(group) for group in network.template.get("SECURITY_GROUPS").split(",") if group.isdigit()}
    nic.update(held)
    nic.update({"NETWORK": network.name, "NETWORK_ID": str(network.id), "BRIDGE": network["bridge"],
                "BRIDGE_TYPE": "linux", "VN_MAD": network["vn_mad"],
                "CLUSTER_ID": ",".join(str(cluster) for cluster in network["clusters"]),
                "SECURITY_GROUPS": ",".join(str(group) for group in sorted(groups))})
    nic.setdefault("TARGET", f"one-{vm.id}-{nic['NIC_ID']}")
    for name in ("GATEWAY", "MTU", "METRIC", "FILTER", "FILTER_IP_SPOOFING", "FILTER_MAC_SPOOFING"):
        if network.template.get(name):
            nic.setdefault(name, network.template.get(name))
    front.save(network)
    return nic


def release_all(front: Front, vm: Record) -> None:
    for network in front.all("vn"):
        if any(vm.id in item["leases"].values() for item in network["ranges"]):
            addresses.release(network, vm.id)
            front.save(network)
    for group in front.all("secgroup"):
        if vm.id in group.numbers("vms"):
            remove_id(group["vms"], vm.id)
            front.save(group)


def release(front: Front, vm: Record, nic: Nic) -> None:
    network = front.find("vn", int(nic["NETWORK_ID"])) if nic.get("NETWORK_ID", "").isdigit() else None
    if network is not None:
        addresses.release(network, vm.id, nic.get("MAC", ""))
        front.save(network)


def rules(front: Front, vm: Record, nics: list[Nic]) -> list[dict[str, str]]:
    """SECURITY_GROUP_RULE vectors for the groups of all NICs."""
    numbers = {int(group) for nic in nics for group in nic.get("SECURITY_GROUPS", "").split(",") if group.isdigit()}
    found = []
    for number in sorted(numbers):
        group = front.find("secgroup", number)
        if group is None:
            continue
        add_id(group.numbers("vms"), vm.id)
        front.save(group)
        for rule in group.template.vectors("RULE"):
            found.append({**rule, "SECURITY_GROUP_ID": str(number), "SECURITY_GROUP_NAME": group.name})
    return found
