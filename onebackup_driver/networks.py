# SPDX-License-Identifier: Apache-2.0
"""Which addresses a restored VM can have back."""

from __future__ import annotations

import ipaddress

from lxml import etree

from onebackup_driver import xml_values
from onebackup_driver.xml_values import Vector


def obstacle(network: etree._Element, nic: Vector) -> str:
    """Why the NIC cannot have its IP and MAC in this network (one.vn.info); empty when it can."""
    ip, mac = nic.get("IP", ""), nic.get("MAC", "").lower()
    for lease in network.iterfind("AR_POOL/AR/LEASES/LEASE"):
        holder = _holder(lease)
        if ip and xml_values.text(lease, "IP") == ip:
            return f"{ip} is in use by {holder}"
        if mac and xml_values.text(lease, "MAC").lower() == mac:
            return f"{mac} is in use by {holder}"
    if ip and not any(_inside(ip, item) for item in network.iterfind("AR_POOL/AR")):
        return f"{ip} is in no address range of the network any more"
    return ""


def _inside(ip: str, address_range: etree._Element) -> bool:
    first, size = xml_values.text(address_range, "IP"), xml_values.number(address_range, "SIZE", 0)
    try:
        return 0 <= int(ipaddress.IPv4Address(ip)) - int(ipaddress.IPv4Address(first)) < size
    except ValueError:
        return False


def _holder(lease: etree._Element) -> str:
    for path, kind in (("VM", "VM"), ("VNET", "network"), ("VROUTER", "virtual router")):
        if xml_values.number(lease, path) >= 0:
            return f"{kind} {xml_values.number(lease, path)}"
    return "somebody else"
