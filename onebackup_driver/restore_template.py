# SPDX-License-Identifier: Apache-2.0
"""A VM template made from a VM: what a user could have typed is kept, what oned worked out is left to oned."""

from __future__ import annotations

import re

from onebackup_driver import xml_values
from onebackup_driver.vm import CDROM, VOLATILE, VirtualMachine
from onebackup_driver.xml_values import Attribute, Vector

#: TEMPLATE attributes that oned derives (src/vm/VirtualMachine.cc) or that get a treatment of their own.
_DERIVED = re.compile(
    r"(AUTOMATIC_\w+|SECURITY_GROUP_RULE|SNAPSHOT|TEMPLATE_ID|TM_MAD_SYSTEM|VMID|VROUTER_ID|NUMA_NODE|SCHED_ACTION"
    r"|SUBMIT_ON_HOLD|DISK|NIC|NIC_ALIAS|CONTEXT|PCI|OS|GRAPHICS|BACKUP_CONFIG|CLONING_TEMPLATE_ID)\Z"
)
_DERIVED_DISK = re.compile(
    r"(ALLOW_ORPHANS|CLONE|CLONE_TARGET\w*|CLUSTER_ID|DATASTORE|DATASTORE_ID|DISK_ID|DISK_SNAPSHOT_TOTAL_SIZE|DISK_TYPE\w*"
    r"|DRIVER|FORMAT|IMAGE|IMAGE_ID|IMAGE_STATE|IMAGE_UID|IMAGE_UNAME|LN_TARGET\w*|ORIGINAL_SIZE|PERSISTENT|PERSISTENT_SNAPSHOTS"
    r"|READONLY|SAVE|SIZE|SOURCE|TM_MAD|TM_MAD_SYSTEM|TYPE|OPENNEBULA_MANAGED|POOL_NAME|CEPH_\w+|BRIDGE_LIST|LVM_\w+|MD5|SHA1"
    r"|FS|DEV|RBD_FORMAT|BACKUP\w*|HAS_\w+|LUKS_SECRET|SHAREABLE|NFS_\w+|ISCSI_\w+|LCM_STATE|SPARSE)\Z"
)
_DERIVED_NIC = re.compile(
    r"(AR_ID|BRIDGE|BRIDGE_TYPE|CLUSTER_ID|NIC_ID|TARGET|VN_MAD|PHYDEV|VLAN_ID|AUTOMATIC_VLAN_ID|OUTER_VLAN_ID|PARENT_ID"
    r"|ALIAS_IDS|VLAN_TAGGED_ID|NETWORK_ADDRESS|NETWORK_MASK|DNS|GATEWAY|GATEWAY6|IP6_ULA|IP6_GLOBAL|IP6_LINK|VROUTER_\w+"
    r"|CONF|OPENNEBULA_MANAGED|ADDRESS|EXTERNAL_\w+|SECURITY_GROUP_\w+|MTU|EXTERNAL)\Z"
)
_DERIVED_CONTEXT = re.compile(r"(ETH\d+_\w+|DISK_ID|TARGET|VMID)\Z")
#: What oned takes out of a template for the machine itself (src/vm/VirtualMachine.cc insert, 6.0 to 7.4). The same
#: names in USER_TEMPLATE are notes of the VM's owner, who may not have what they name: others' images and networks.
_OF_MACHINES = re.compile(
    r"(NAME|TEMPLATE_NAME|TEMPLATE_ID|VMID|CPU|VCPU|VCPU_MAX|MEMORY|MEMORY_\w+|CPU_COST|DISK_COST|EMULATOR|DISK|NIC|NIC_ALIAS"
    r"|NIC_DEFAULT|PCI|CONTEXT|OS|FEATURES|GRAPHICS|VIDEO|INPUT|RAW|CPU_MODEL|TOPOLOGY|NUMA_NODE|VMGROUP|VROUTER\w*|TPM|IOMMU"
    r"|SUBMIT_ON_HOLD|BACKUP_CONFIG|SNAPSHOT|SCHED_ACTION|CLONING_TEMPLATE_ID|TM_MAD_SYSTEM|SECURITY_GROUP_RULE"
    r"|AUTOMATIC_\w+)\Z"
)
_DERIVED_PCI = re.compile(r"(ADDRESS|BUS|DOMAIN|FUNCTION|SLOT|SHORT_ADDRESS|NUMA_NODE|VM_\w+|PCI_ID|UUID)\Z")
#: USER_TEMPLATE attributes that told of the old VM's life.
_USER_DROPPED = ("ERROR", "ONEBACKUP", "SCHED_MESSAGE")
_BACKUP_DROPPED = ("LAST_BACKUP_TIME", "MARKETPLACE_APP_IDS", "ACTION")


def body(machine: VirtualMachine, keep_uuid: bool) -> list[Attribute]:
    """The machine but for name, disks and NICs: capacity, OS, features, graphics, context.

    `keep_uuid`: whether the VM may come back as the same machine (it must not while the old one exists).
    """
    found: list[Attribute] = []
    for name, value in xml_values.attributes(machine.element.find("TEMPLATE")):
        if name in _SPECIAL and isinstance(value, dict):
            kept = _SPECIAL[name](value)
            if name == "OS" and not keep_uuid:
                kept.pop("UUID", None)
            if kept:
                found.append((name, kept))
        elif not _DERIVED.match(name):
            found.append((name, value))
    return found


def disk_attributes(attributes: Vector) -> Vector:
    """What a user can set on a disk: DEV_PREFIX, TARGET, CACHE, IO, limits, …"""
    return {key: value for key, value in attributes.items() if not _DERIVED_DISK.match(key)}


def volatile_disk(attributes: Vector) -> Vector:
    """The definition of a volatile disk, to be made anew, empty."""
    own = {key: attributes[key] for key in ("TYPE", "SIZE", "FORMAT", "FS") if attributes.get(key)}
    return {**disk_attributes(attributes), **own}


def nics(machine: VirtualMachine) -> list[Attribute]:
    """NIC and NIC_ALIAS as they could have been asked for: network, IP, MAC, security groups, model, name."""
    found: list[Attribute] = []
    for kind in ("NIC", "NIC_ALIAS"):
        for element in machine.element.findall(f"TEMPLATE/{kind}"):
            values = xml_values.vector(element)
            found.append((kind, {key: value for key, value in values.items() if not _DERIVED_NIC.match(key)}))
    return found


def without_addresses(nic: Vector) -> Vector:
    """The NIC with its addresses left to oned."""
    return {key: value for key, value in nic.items() if key not in ("IP", "IP6", "MAC")}


def without(attributes: list[Attribute], name: str) -> list[Attribute]:
    """The attributes without `name`: an attribute, a key of any vector, or `VECTOR/KEY`."""
    vector_name, _, key = name.rpartition("/")
    if not vector_name and any(item == name for item, _ in attributes):
        return [(item, value) for item, value in attributes if item != name]
    found: list[Attribute] = []
    for item, value in attributes:
        if isinstance(value, dict) and vector_name in ("", item):
            value = {inner: text for inner, text in value.items() if inner != key}
        found.append((item, value))
    return found


def stock_text(machine: VirtualMachine) -> list[Attribute]:
    """The template a stock restore uses: no disks, networks chosen automatically (template_ext.rb)."""
    own = {"NETWORK", "NETWORK_ID", "NETWORK_UNAME", "SECURITY_GROUPS", "IP", "IP6", "MAC"}
    automatic: list[Attribute] = []
    for kind, values in nics(machine):
        if kind == "NIC" and isinstance(values, dict):
            kept = {key: value for key, value in values.items() if key not in own}
            automatic.append(("NIC", {**kept, "NETWORK_MODE": "auto"}))
    users = [(name, value) for name, value in user_attributes(machine) if not _OF_MACHINES.match(name)]
    return body(machine, keep_uuid=False) + users + automatic


def disks(machine: VirtualMachine, images: dict[int, int]) -> list[Attribute]:
    """DISK attributes in the VM's order: `images` maps a saved disk's id to its new image's id; CD-ROMs are referenced,
    volatile and unsaved disks made anew."""
    found: list[Attribute] = []
    for disk in machine.disks:
        if disk.disk_id in images:
            found.append(("DISK", {**disk_attributes(disk.attributes), "IMAGE_ID": str(images[disk.disk_id])}))
        elif disk.kind == CDROM:
            found.append(("DISK", {**disk_attributes(disk.attributes), "IMAGE_ID": str(disk.image_id)}))
        elif disk.kind == VOLATILE:
            found.append(("DISK", volatile_disk(disk.attributes)))
    return found


def user_attributes(machine: VirtualMachine) -> list[Attribute]:
    """USER_TEMPLATE without what told of the old VM's life. To be written on a VM that is there already
    (one.vm.update): in a template oned would make DISK, NIC and the like of it, with the rights of whoever restores."""
    found: list[Attribute] = []
    for name, value in xml_values.attributes(machine.element.find("USER_TEMPLATE")):
        if name == "BACKUP" and isinstance(value, dict):
            value = {key: item for key, item in value.items() if key not in _BACKUP_DROPPED}
        if name not in _USER_DROPPED:
            found.append((name, value))
    return found


def _context(values: Vector) -> Vector:
    own_network = values.get("NETWORK", "").upper() == "YES"
    dropped = _DERIVED_CONTEXT if own_network else re.compile(r"(DISK_ID|TARGET|VMID)\Z")
    return {key: value for key, value in values.items() if not dropped.match(key)}


def _graphics(values: Vector) -> Vector:
    return {key: value for key, value in values.items() if key != "PORT"}


def _pci(values: Vector) -> Vector:
    return {key: value for key, value in values.items() if not _DERIVED_PCI.match(key)}


def _os(values: Vector) -> Vector:
    return dict(values)


_SPECIAL = {"CONTEXT": _context, "GRAPHICS": _graphics, "PCI": _pci, "OS": _os}
