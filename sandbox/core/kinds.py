# SPDX-License-Identifier: Apache-2.0
"""The kinds of objects: their names in calls, messages and XML, and which generic calls they have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`call` as in one.<call>.info, `long_name` and `right_name` as oned's messages say it, `unique` = name scope."""

    call: str
    long_name: str
    right_name: str
    root: str
    pool_root: str
    first_id: int = 0
    unique: str = "owner"
    owned: bool = True
    full_stop: bool = True


KINDS: dict[str, Kind] = {
    kind.call: kind
    for kind in (
        Kind("vm", "virtual machine", "VM", "VM", "VM_POOL", unique="none"),
        Kind("image", "image", "IMAGE", "IMAGE", "IMAGE_POOL"),
        Kind("template", "virtual machine template", "TEMPLATE", "VMTEMPLATE", "VMTEMPLATE_POOL"),
        Kind("vn", "virtual network", "NET", "VNET", "VNET_POOL"),
        Kind("datastore", "datastore", "DATASTORE", "DATASTORE", "DATASTORE_POOL", 100, "all"),
        Kind("market", "marketplace", "MARKETPLACE", "MARKETPLACE", "MARKETPLACE_POOL", 100, "all"),
        Kind("marketapp", "marketplaceapp", "MARKETPLACEAPP", "MARKETPLACEAPP", "MARKETPLACEAPP_POOL",
             full_stop=False),
        Kind("host", "host", "HOST", "HOST", "HOST_POOL", unique="all", owned=False),
        Kind("cluster", "cluster", "CLUSTER", "CLUSTER", "CLUSTER_POOL", 100, "all", owned=False),
        Kind("user", "user", "USER", "USER", "USER_POOL", unique="all", owned=False),
        Kind("group", "group", "GROUP", "GROUP", "GROUP_POOL", 100, "all", owned=False),
        Kind("zone", "zone", "ZONE", "ZONE", "ZONE_POOL", 100, "all", owned=False),
        Kind("secgroup", "security group", "SECGROUP", "SECURITY_GROUP", "SECURITY_GROUP_POOL", 100),
        Kind("hook", "hook", "HOOK", "HOOK", "HOOK_POOL", unique="all", owned=False),
        Kind("document", "document", "DOCUMENT", "DOCUMENT", "DOCUMENT_POOL"),
    )
}
LOCKABLE = ("vm", "image", "template", "marketapp", "vn", "document", "hook")
