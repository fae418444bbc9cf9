# SPDX-License-Identifier: Apache-2.0
"""The CONTEXT of a VM: variables resolved, network variables added, the password encrypted."""

from __future__ import annotations

import base64
import hashlib
import re

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.core.template import Template

VARIABLE = re.compile(r"\$(?:(\w+)\[([^\]]*)\]|(\w+))")
NETWORK = ("DNS", "EXTERNAL", "GATEWAY", "IP", "IP6", "IP6_GATEWAY", "IP6_METHOD", "IP6_METRIC", "IP6_PREFIX_LENGTH",
           "IP6_ULA", "MAC", "MASK", "METHOD", "METRIC", "MTU", "NETWORK", "SEARCH_DOMAIN", "VLAN_ID", "VROUTER_IP",
           "VROUTER_IP6", "VROUTER_MANAGEMENT")
FROM_NETWORK = {"DNS": "DNS", "GATEWAY": "GATEWAY", "MASK": "NETWORK_MASK", "NETWORK": "NETWORK_ADDRESS",
                "SEARCH_DOMAIN": "SEARCH_DOMAIN", "MTU": "MTU", "METRIC": "METRIC", "METHOD": "METHOD"}


def resolve(front: Front, vm: Record, context: dict[str, str], everything: Template) -> dict[str, str]:
    """`$USER[X]`, `$NAME`, `$VMID`, `$ATTRIBUTE` in the values replaced; unknown ones become empty."""
    user = front.find("user", vm.uid)

    def value(match: re.Match[str]) -> str:
        scope, key, single = match.groups()
        if scope == "USER":
            return user.template.get(key.upper()) if user else ""
        if scope:
            vector = everything.vector(scope.upper()) or {}
            return vector.get(key.upper(), "")
        known = {"NAME": vm.name, "VMID": str(vm.id), "UID": str(vm.uid), "GID": str(vm.gid), "UNAME": vm.uname}
        return known.get(single, everything.get(single.upper()))

    return {key: VARIABLE.sub(value, text) for key, text in context.items()}


def with_network(front: Front, context: dict[str, str], nics: list[dict[str, str]]) -> dict[str, str]:
    """ETH<n>_* as oned adds them for NETWORK=YES; what the network does not define stays empty."""
    if context.get("NETWORK", "").upper() != "YES":
        return context
    extra = ("ROUTES",) if front.settings.modern else ("GATEWAY6",)
    for nic in nics:
        network = front.find("vn", int(nic["NETWORK_ID"])) if nic.get("NETWORK_ID", "").isdigit() else None
        for name in (*NETWORK, *extra):
            source = network.template.get(FROM_NETWORK[name]) if network and name in FROM_NETWORK else ""
            value = nic.get(name, "") if name in ("IP", "MAC", "IP6", "VLAN_ID") else source
            context[f"ETH{nic['NIC_ID']}_{name}"] = value
    return context


def encrypt(front: Front, template: Template) -> None:
    """CONTEXT/PASSWORD unreadable, as VM_ENCRYPTED_ATTR has it; what is encrypted already stays."""
    for context in template.vectors("CONTEXT"):
        if context.get("PASSWORD") and decrypted(front, context["PASSWORD"]) is None:
            context["PASSWORD"] = _encrypted(front, context["PASSWORD"])


def decrypted(front: Front, text: str) -> str | None:
    """The clear text, or None when this is not one of our own encrypted values."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    if not data or len(data) % 16:
        return None
    clear = bytes(a ^ b for a, b in zip(data, _stream(front, len(data))))
    pad = clear[-1]
    if not 1 <= pad <= 16 or clear[-pad:] != bytes([pad]) * pad:
        return None
    try:
        return clear[:-pad].decode()
    except UnicodeDecodeError:
        return None


def _encrypted(front: Front, text: str) -> str:
    data = text.encode()
    pad = 16 - len(data) % 16
    data += bytes([pad]) * pad
    return base64.b64encode(bytes(a ^ b for a, b in zip(data, _stream(front, len(data))))).decode()


def _stream(front: Front, length: int) -> bytes:
    key = front.get("user", 0)["password"].encode()
    blocks = (hashlib.sha256(key + number.to_bytes(4, "big")).digest() for number in range(length // 32 + 1))
    return b"".join(blocks)[:length]
