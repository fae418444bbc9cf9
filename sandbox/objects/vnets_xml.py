# SPDX-License-Identifier: Apache-2.0
"""The XML of virtual networks and their address ranges."""

from __future__ import annotations

from typing import Any

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.core.template import attribute_xml
from sandbox.core.xml_text import cdata, ids, tag
from sandbox.objects import addresses

VM_BITS = 0x0000001000000000


def extended(front: Front, record: Record) -> str:
    ranges = "".join(_range(item) for item in record["ranges"])
    return tag("VNET", _head(record, front.settings.modern) + record.template.xml() + tag("AR_POOL", ranges))


def summary(front: Front, record: Record) -> str:
    ranges = "".join(_stored_range(item) for item in record["ranges"])
    return tag("VNET", _head(record, front.settings.modern) + record.template.xml() + tag("AR_POOL", ranges))


def _head(record: Record, modern: bool) -> str:
    parts = [record.owner_xml(), tag("NAME", record.name), record.lock_xml(), record.rights_xml()]
    parts += [ids("CLUSTERS", record["clusters"]), cdata("BRIDGE", record["bridge"])]
    parts += [cdata("BRIDGE_TYPE", "linux"), cdata("STATE", str(record["state"]))]
    parts += [cdata("PREV_STATE", str(record["prev_state"])), "<PARENT_NETWORK_ID/>", "<TEMPLATE_ID/>" * modern]
    parts += [cdata("VN_MAD", record["vn_mad"]), "<PHYDEV/><VLAN_ID/><OUTER_VLAN_ID/>"]
    parts += [tag("VLAN_ID_AUTOMATIC", 0), tag("OUTER_VLAN_ID_AUTOMATIC", 0)]
    used = sum(len(item["leases"]) for item in record["ranges"])
    parts += [tag("USED_LEASES", used), "<VROUTERS></VROUTERS>", "<UPDATED_VMS></UPDATED_VMS>"]
    return "".join(parts) + "<OUTDATED_VMS></OUTDATED_VMS><UPDATING_VMS></UPDATING_VMS><ERROR_VMS></ERROR_VMS>"


def _stored_range(item: dict[str, Any]) -> str:
    """A range as pools show it: the database's own form, with ALLOCATED as " index holder …"."""
    leases = sorted(item["leases"].items(), key=lambda pair: int(pair[0]))
    allocated = "".join(f" {index} {VM_BITS + max(holder, 0)}" for index, holder in leases)
    return attribute_xml("AR", {**item["attributes"], "ALLOCATED": allocated})


def _range(item: dict[str, Any]) -> str:
    attributes = item["attributes"]
    parts = [cdata(key, attributes[key]) for key in sorted(attributes)]
    last = int(attributes["SIZE"]) - 1
    parts.append(cdata("MAC_END", addresses.mac_at(item, last)))
    if attributes.get("IP"):
        parts.append(cdata("IP_END", addresses.ip_at(item, last)))
    return tag("AR", "".join(parts) + tag("USED_LEASES", len(item["leases"])) + _leases(item))


def _leases(item: dict[str, Any]) -> str:
    if not item["leases"]:
        return "<LEASES/>"
    return tag("LEASES", "".join(
        attribute_xml("LEASE", addresses.lease(item, int(index), holder)) for index, holder in
        sorted(item["leases"].items(), key=lambda pair: int(pair[0]))
    ))
