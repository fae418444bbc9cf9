# SPDX-License-Identifier: Apache-2.0
"""Which attributes of a VM template oned understands; the rest becomes the VM's USER_TEMPLATE."""

from __future__ import annotations

from typing import Optional

from sandbox.core.template import Template
from sandbox.core.template_text import Value

KNOWN = frozenset((
    "CPU", "MEMORY", "VCPU", "OS", "FEATURES", "DISK", "NIC", "NIC_ALIAS", "NIC_DEFAULT", "PCI", "GRAPHICS", "VIDEO",
    "INPUT", "RAW", "CONTEXT", "CPU_MODEL", "TOPOLOGY", "NUMA_NODE", "EMULATOR", "VMGROUP", "TEMPLATE_ID", "CPU_COST",
    "MEMORY_COST", "DISK_COST", "SUBMIT_ON_HOLD", "MEMORY_MAX", "VCPU_MAX", "MEMORY_SLOTS", "MEMORY_RESIZE_MODE",
    "CLONING_TEMPLATE_ID", "TM_MAD_SYSTEM", "TPM",
))
BACKUP = "BACKUP_CONFIG"


def split(template: Template) -> tuple[Template, list[tuple[str, Value]]]:
    """(VM template, user template items); the parts oned makes itself are left out of both."""
    made = ("VMID", "SECURITY_GROUP_RULE", BACKUP, "AUTOMATIC_REQUIREMENTS", "AUTOMATIC_DS_REQUIREMENTS",
            "AUTOMATIC_NIC_REQUIREMENTS")
    copied = template.copy().items
    known = [(name, value) for name, value in copied if name in KNOWN]
    user = [(name, value) for name, value in copied if name not in KNOWN and name not in made]
    return Template(known), user


def problem(template: Template) -> Optional[str]:
    """oned's complaint about capacity or unstorable text, or None."""
    if not _positive(template.get("CPU"), float):
        return "CPU attribute must be a positive float or integer value."
    if not _positive(template.get("MEMORY"), int):
        return "MEMORY attribute must be a positive integer value."
    if template.has("VCPU") and not _positive(template.get("VCPU"), int):
        return "VCPU attribute must be a positive integer value."
    return None if template.storable() else "Error transforming the VM to XML."


def _positive(text: str, kind: type) -> bool:
    try:
        return bool(kind(text) > 0)
    except ValueError:
        return False
