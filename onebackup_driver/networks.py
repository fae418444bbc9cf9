# SPDX-License-Identifier: Apache-2.0
"""Which addresses a restored VM can have back."""

from __future__ import annotations

import ipaddress
import re
from typing import Optional

from lxml import etree

from onebackup_driver import xml_values
from onebackup_driver.xml_values import Vector

_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}")


def obstacle(network: etree._Element, nic: Vector) -> str:
    """Why the NIC cannot have its IP and MAC in this network (one.vn.info); empty when it can."""
    ip, mac = nic.get("IP", ""), nic.get("MAC", "").lower()
    for lease in network.iterfind("AR_POOL/AR/LEASES/LEASE"):
        holder = _holder(lease)
        if ip and xml_values.text(lease, "IP") == ip:
            return f"{ip} is in use by {holder}"
        if mac and xml_values.text(lease, "MAC").lower() == mac:
            return f"{mac} is in use by {holder}"
    ranges = network.findall("AR_POOL/AR")
    if ip and not any(_inside(ip, item) for item in ranges):
        return f"{ip} is in no address range of the network any more"
    if mac and not ip and not any(_mac_inside(mac, item) for item in ranges):
        return f"{mac} is in no address range of the network any more"
    return ""


def request(nic: Vector) -> Vector:
    """The NIC as oned takes it: with one of IP, IP6 and MAC at most (src/vnm/VirtualNetwork.cc nic_attribute); the
    address range gives the others, the same as before unless it was changed (see `new_mac`)."""
    kept = next((name for name in ("IP", "IP6", "MAC") if nic.get(name)), "")
    return {key: value for key, value in nic.items() if key not in ("IP", "IP6", "MAC") or key == kept}


def new_mac(network: etree._Element, nic: Vector) -> str:
    """The MAC that comes with the NIC's IP when it is not the one it had; empty when it stays."""
    ip, mac = nic.get("IP", ""), nic.get("MAC", "").lower()
    for item in network.iterfind("AR_POOL/AR"):
        first = _mac_number(xml_values.text(item, "MAC"))
        if ip and mac and first is not None and _inside(ip, item):
            index = int(ipaddress.IPv4Address(ip)) - int(ipaddress.IPv4Address(xml_values.text(item, "IP")))
            found = ":".join(f"{byte:02x}" for byte in (first + index).to_bytes(7, "big")[1:])
            return "" if found == mac else found
    return ""


def _mac_inside(mac: str, address_range: etree._Element) -> bool:
    first, wanted = _mac_number(xml_values.text(address_range, "MAC")), _mac_number(mac)
    size = xml_values.number(address_range, "SIZE", 0)
    return first is not None and wanted is not None and 0 <= wanted - first < size


def _mac_number(mac: str) -> Optional[int]:
    return int(mac.replace(":", ""), 16) if _MAC.fullmatch(mac) else None


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
