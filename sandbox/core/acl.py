# SPDX-License-Identifier: Apache-2.0
"""ACL rules as oned keeps and shows them (6.4 and 7.4 include/AclRule.h, src/acl/): four numbers of 64 bits.

They decide about zones, marketplaces and apps here; what a fresh installation lets users create, and what the default
VDC lets them use, is in rights.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.core.record import Record
from sandbox.core.xml_text import tag

INDIVIDUAL, GROUP, ALL, CLUSTER = 1 << 32, 1 << 33, 1 << 34, 1 << 35
_SELECTORS, _ID = INDIVIDUAL | GROUP | ALL | CLUSTER, (1 << 32) - 1
#: In the order in which a rule's text names them.
TYPES = {
    name: 1 << bit
    for name, bit in (
        ("VM", 36), ("HOST", 37), ("NET", 38), ("IMAGE", 39), ("USER", 40), ("TEMPLATE", 41), ("GROUP", 42),
        ("DATASTORE", 44), ("CLUSTER", 45), ("DOCUMENT", 46), ("ZONE", 47), ("SECGROUP", 48), ("VDC", 49),
        ("VROUTER", 50), ("MARKETPLACE", 51), ("MARKETPLACEAPP", 52), ("VMGROUP", 53), ("VNTEMPLATE", 54),
        ("BACKUPJOB", 56),
    )
}  # fmt: skip
RIGHTS = {"USE": 1, "MANAGE": 2, "ADMIN": 4, "CREATE": 8}
_FEDERATED = sum(TYPES[name] for name in ("USER", "GROUP", "ZONE", "VDC"))
_EXCEPT = "except for USER, GROUP and ZONE types"
_KINDS = {"zone": "ZONE", "market": "MARKETPLACE", "marketapp": "MARKETPLACEAPP"}
_ZONE = 0


@dataclass(frozen=True)
class Rule:
    """`user`, `resource`, `rights`, `zone`: as they go over the wire, in hexadecimal there."""

    user: int
    resource: int
    rights: int
    zone: int

    def __str__(self) -> str:
        types = "+".join(name for name, bit in TYPES.items() if self.resource & bit)
        rights = "+".join(name for name, bit in RIGHTS.items() if self.rights & bit)
        return f"{_selector(self.user)} {types}/{_selector(self.resource)} {rights} {_selector(self.zone)}"

    def xml(self, number: int) -> str:
        numbers = {"USER": self.user, "RESOURCE": self.resource, "RIGHTS": self.rights, "ZONE": self.zone}
        hexadecimal = "".join(tag(key, f"{value:x}") for key, value in numbers.items())
        return tag("ACL", tag("ID", number) + hexadecimal + tag("STRING", str(self)))

    def problem(self) -> str:
        """What is wrong with it, as oned words the commonest; empty: nothing."""
        if _one_of(self.user, INDIVIDUAL | GROUP | ALL) or self.user & ALL and self.user & _ID:
            return "[user] is missing one of the INDIVIDUAL, GROUP or ALL bits"
        if _one_of(self.resource, _SELECTORS):
            return "[resource] is missing one of the INDIVIDUAL, GROUP, CLUSTER or ALL bits"
        if not self.resource >> 36:
            return "[resource] type is missing"
        if not 0 < self.rights <= 0xF:
            return (
                "wrong [rights], it cannot be 0" if not self.rights else "wrong [rights], it cannot be bigger than 0xF"
            )
        if _one_of(self.zone, INDIVIDUAL | ALL):
            return "[zone] is missing one of the INDIVIDUAL or ALL bits"
        if self.zone & ALL and self.resource & INDIVIDUAL and self.resource >> 36 << 36 & ~_FEDERATED:
            return f"[resource] INDIVIDUAL(#) selector cannot be applied to ALL zones, {_EXCEPT}"
        return ""

    def is_for(self, uid: int, groups: tuple[int, ...]) -> bool:
        """Whether it is about this user."""
        return self.user in (ALL, INDIVIDUAL | uid, *(GROUP | gid for gid in groups))

    def grants(self, right: str, record: Record) -> bool:
        """Whether it gives those whom it is about this right on an object."""
        kind = TYPES.get(_KINDS.get(record.kind, ""), 0)
        wanted = {INDIVIDUAL | record.id, ALL, GROUP | record.gid if record.kind != "zone" else ALL}
        here = self.zone in (ALL, INDIVIDUAL | _ZONE)
        covered = self.resource & kind and self.resource & (_SELECTORS | _ID) in wanted
        return bool(covered and self.rights & RIGHTS[right] and here)


def rule(user: int, types: str, selector: int, rights: int, zone: int = ALL) -> Rule:
    """`types`: names with `+`."""
    return Rule(user, sum(TYPES[name] for name in types.split("+")) | selector, rights, zone)


def of(record: Record) -> Rule:
    """The rule that is kept in a record."""
    return Rule(record["user"], record["resource"], record["rights"], record["zone"])


def defaults(modern: bool) -> list[Rule]:
    """The rules of a fresh installation (src/acl/AclManager.cc, then those of the default VDC for the group users)."""
    own = "VM+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VMGROUP" + ("+BACKUPJOB" if modern else "")
    return [
        rule(GROUP | 1, own, ALL, RIGHTS["CREATE"]), rule(ALL, "ZONE", ALL, RIGHTS["USE"]),
        rule(ALL, "MARKETPLACE+MARKETPLACEAPP", ALL, RIGHTS["USE"]), *of_group(1),
    ]  # fmt: skip


def of_group(gid: int) -> list[Rule]:
    """What the default VDC gives a group (DEFAULT_VDC_CLUSTER_*_ACL of oned.conf)."""
    rights = {"HOST": RIGHTS["MANAGE"], "NET": RIGHTS["USE"], "DATASTORE": RIGHTS["USE"]}
    return [rule(GROUP | gid, name, ALL, right, INDIVIDUAL | _ZONE) for name, right in rights.items()]


def _one_of(number: int, bits: int) -> bool:
    """Whether not exactly one of the bits is set."""
    return bin(number & bits).count("1") != 1


def _selector(number: int) -> str:
    signs = {INDIVIDUAL: "#", GROUP: "@", CLUSTER: "%"}
    return next((f"{sign}{number & _ID}" for bit, sign in signs.items() if number & bit), "*" if number & ALL else "??")
