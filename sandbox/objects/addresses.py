# SPDX-License-Identifier: Apache-2.0
"""Address ranges: which IP and MAC belong to which index, and who holds them."""

from __future__ import annotations

import ipaddress
from typing import Any, Optional

from sandbox.core.record import Record

HOLD = -1
Range = dict[str, Any]


def make(number: int, given: dict[str, str], modern: bool) -> Range:
    """A range from an AR vector of a template; MAC made up from the IP as oned does (02:00 + IP).

    7.x ranges (`modern`) go on behind the last address they gave instead of starting over at the first free one.
    """
    attributes = {key: value for key, value in given.items() if key != "ALLOCATED"}
    attributes.setdefault("TYPE", "ETHER")
    attributes.setdefault("SIZE", "1")
    attributes["AR_ID"] = str(number)
    if "MAC" not in attributes:
        attributes["MAC"] = mac_of_ip(attributes["IP"]) if "IP" in attributes else f"02:00:00:00:{number:02x}:00"
    if modern:
        attributes["NEXT_INDEX"] = "0"
    return {"attributes": attributes, "leases": {}}


def mac_of_ip(ip: str) -> str:
    return _mac(0x0200 << 32 | int(ipaddress.IPv4Address(ip)))


def _mac(number: int) -> str:
    return ":".join(f"{number >> shift & 255:02x}" for shift in (40, 32, 24, 16, 8, 0))


def _mac_number(mac: str) -> int:
    try:
        return int(mac.replace(":", ""), 16)
    except ValueError:
        return -1


def ip_at(item: Range, index: int) -> str:
    return str(ipaddress.IPv4Address(item["attributes"]["IP"]) + index)


def mac_at(item: Range, index: int) -> str:
    return _mac(_mac_number(item["attributes"]["MAC"]) + index)


def lease(item: Range, index: int, holder: int) -> dict[str, str]:
    values = {"MAC": mac_at(item, index), "VM": str(holder)}
    if "IP" in item["attributes"]:
        values["IP"] = ip_at(item, index)
    return values


def _index_of(item: Range, ip: str, mac: str) -> Optional[int]:
    attributes = item["attributes"]
    if ip:
        if "IP" not in attributes:
            return None
        try:
            index = int(ipaddress.IPv4Address(ip)) - int(ipaddress.IPv4Address(attributes["IP"]))
        except ValueError:
            return None
    else:
        index = _mac_number(mac) - _mac_number(attributes["MAC"])
    return index if 0 <= index < int(attributes["SIZE"]) else None


def _free_index(item: Range) -> Optional[int]:
    taken, size = item["leases"], int(item["attributes"]["SIZE"])
    first = int(item["attributes"].get("NEXT_INDEX", "0"))
    order = ((first + step) % size for step in range(size))
    return next((index for index in order if str(index) not in taken), None)


def take(network: Record, holder: int, ip: str = "", mac: str = "") -> Optional[dict[str, str]]:
    """A lease for `holder`: the asked IP or MAC (not both, as oned refuses that), or the first free one."""
    if ip and mac:
        return None
    for item in network["ranges"]:
        index = _index_of(item, ip, mac) if ip or mac else _free_index(item)
        if index is not None and str(index) not in item["leases"]:
            item["leases"][str(index)] = holder
            if not ip and not mac and "NEXT_INDEX" in item["attributes"]:
                item["attributes"]["NEXT_INDEX"] = str((index + 1) % int(item["attributes"]["SIZE"]))
            return {**lease(item, index, holder), "AR_ID": item["attributes"]["AR_ID"]}
    return None


def release(network: Record, holder: int, mac: str = "") -> None:
    """Frees all leases of a holder, or only the one with that MAC."""
    for item in network["ranges"]:
        for index in [key for key, owner in item["leases"].items() if owner == holder]:
            if not mac or mac_at(item, int(index)) == mac:
                del item["leases"][index]


def ranges(vectors: list[dict[str, str]], modern: bool) -> list[Range]:
    return [make(number, vector, modern) for number, vector in enumerate(vectors)]
