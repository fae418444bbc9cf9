# SPDX-License-Identifier: Apache-2.0
"""Attributes that only oneadmin may set (oned.conf's *_RESTRICTED_ATTR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from sandbox.core import errors
from sandbox.core.caller import Caller
from sandbox.core.template import Template

_BANDWIDTH = ("INBOUND_AVG_BW", "INBOUND_PEAK_BW", "INBOUND_PEAK_KB", "OUTBOUND_AVG_BW", "OUTBOUND_PEAK_BW",
              "OUTBOUND_PEAK_KB")
_NIC = ("MAC", "VLAN_ID", "BRIDGE", "FILTER", "FILTER_IP_SPOOFING", "FILTER_MAC_SPOOFING", "OPENNEBULA_MANAGED",
        "EXTERNAL", *_BANDWIDTH)
_THROTTLES = tuple(
    f"{what}_{unit}_SEC{tail}" for what in ("TOTAL", "READ", "WRITE") for unit in ("BYTES", "IOPS")
    for tail in ("", "_MAX", "_MAX_LENGTH")
)
_DISK = (*_THROTTLES, "SIZE_IOPS_SEC", "OPENNEBULA_MANAGED", "ORIGINAL_SIZE", "SIZE_PREV")
VM: frozenset[str] = frozenset((
    "CONTEXT/FILES", "DEPLOY_ID", "CPU_COST", "MEMORY_COST", "DISK_COST", "PCI", "EMULATOR", "RAW", "USER_PRIORITY",
    "USER_INPUTS/CPU", "USER_INPUTS/MEMORY", "USER_INPUTS/VCPU", "TOPOLOGY/PIN_POLICY", "TOPOLOGY/HUGEPAGE_SIZE",
    *(f"NIC/{name}" for name in _NIC), *(f"NIC_ALIAS/{name}" for name in _NIC), *(f"DISK/{name}" for name in _DISK),
    *(f"NIC_DEFAULT/{name}" for name in ("MAC", "VLAN_ID", "BRIDGE", "FILTER", "EXTERNAL")),
))
RESTRICTED: dict[str, frozenset[str]] = {
    "vm": VM,
    "template": VM,
    "image": frozenset(("SOURCE",)),
    "vn": frozenset(("VN_MAD", "PHYDEV", "VLAN_ID", "BRIDGE", "CONF", "BRIDGE_CONF", "FILTER", "EXTERNAL",
                     "CLUSTER_IDS")),
    "user": frozenset(("VM_USE_OPERATIONS", "VM_MANAGE_OPERATIONS", "VM_ADMIN_OPERATIONS")),
}


def found(kind: str, template: Template) -> Optional[str]:
    """The first restricted attribute in the template, or None; of NIC/MAC oned names only MAC (src/template/Template.cc
    check_restricted)."""
    attributes = RESTRICTED.get(kind, frozenset())
    for name, value in template.sorted():
        if name in attributes:
            return name
        if isinstance(value, dict):
            for key in sorted(value):
                if f"{name}/{key}" in attributes:
                    return key
    return None


def refuse(
    kind: str, caller: Caller, template: Template, what: str = "Template", more: Sequence[str] = ()
) -> None:
    """Raises the refusal an ordinary user gets; `what` is how oned names the template at this place, `more` what this
    front-end's oned.conf restricts besides."""
    restricted = found(kind, template) or next((name for name in more if template.has(name)), None)
    name = None if caller.is_admin else restricted
    if name:
        text = f"User [{caller.uid}] : {what} includes a restricted attribute {name}."
        raise errors.CallError(errors.AUTHORIZATION, text)


def kept(kind: str, old: Template, new: Template, append: bool) -> Template:
    """What of `new` an ordinary user may write: restricted attributes keep their old values."""
    attributes = RESTRICTED.get(kind, frozenset())
    result = Template()
    for name, value in new.copy().items:
        if name in attributes:
            continue
        if isinstance(value, dict):
            value = {key: text for key, text in value.items() if f"{name}/{key}" not in attributes}
        result.add(name, value)
    if not append:
        result.items += [(name, value) for name, value in old.items if name in attributes]
    return result
