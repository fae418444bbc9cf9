# SPDX-License-Identifier: Apache-2.0
"""Who may use a marketplace or an app: permissions and ACL rules, judged as oned does (src/acl/AclManager.cc).

A rule is four numbers of 64 bits (include/AclRule.h): whom it is about, the objects, the rights, the zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from lxml import etree

from onebackup_driver import vm, xml_values

#: Types of objects (include/PoolObjectSQL.h), and how a rule selects among them.
MARKETPLACE, APP = 1 << 51, 1 << 52
_INDIVIDUAL, _GROUP, _ALL = 1 << 32, 1 << 33, 1 << 34
_SELECTOR = (1 << 36) - 1
_USE = 1
_GROUP_USE, _OTHER_USE = 3, 6
_ONEADMIN = 0
_NUMBERS = ("USER", "RESOURCE", "RIGHTS", "ZONE")


@dataclass(frozen=True)
class User:
    """`groups`: the primary one and all others."""

    uid: int
    groups: frozenset[int] = frozenset()

    @property
    def is_admin(self) -> bool:
        """oneadmin, or of its group: oned asks no further."""
        return self.uid == _ONEADMIN or _ONEADMIN in self.groups


@dataclass(frozen=True)
class Rule:
    """`text`: as `oneacl list --describe` and logs show it."""

    rule_id: int
    user: int
    resource: int
    rights: int
    zone: int
    text: str

    def is_about(self, user: User) -> bool:
        """Whether it gives this user anything."""
        return self.user in (_ALL, _INDIVIDUAL | user.uid, *(_GROUP | gid for gid in user.groups))

    def opens(self, kind: int, element: etree._Element) -> bool:
        """Whether it gives those whom it is about USE of an object."""
        object_id, gid, zone = (xml_values.number(element, key, 0) for key in ("ID", "GID", "ZONE_ID"))
        selected = self.resource & _SELECTOR in (_ALL, _INDIVIDUAL | object_id, _GROUP | gid)
        return bool(self.resource & kind and selected and self.rights & _USE) and self.zone in (
            _ALL,
            _INDIVIDUAL | zone,
        )


def parse_pool(element: etree._Element) -> list[Rule]:
    """The rules of an `<ACL_POOL>`; one that cannot be read is left out."""
    return [rule for item in element.findall("ACL") if (rule := _parse(item)) is not None]


def parse_user(element: etree._Element) -> User:
    """A user from its `<USER>` element."""
    found = (xml_values.whole_number(item.text or "") for item in element.findall("GROUPS/ID"))
    groups = {xml_values.number(element, "GID"), *(number for number in found if number is not None)}
    return User(xml_values.number(element, "ID"), frozenset(groups))


def permits(element: etree._Element, user: User) -> bool:
    """Whether the object's own permissions let a user who does not own it use it."""
    bits = vm.permissions(element)
    return bool(bits[_OTHER_USE] or bits[_GROUP_USE] and xml_values.number(element, "GID") in user.groups)


def may_use(rules: list[Rule], kind: int, element: etree._Element, user: User) -> bool:
    """Whether a user may use an object."""
    owns = xml_values.number(element, "UID") == user.uid and bool(vm.permissions(element)[0])
    given = any(rule.opens(kind, element) and rule.is_about(user) for rule in rules)
    return user.is_admin or owns or permits(element, user) or given


def _parse(item: etree._Element) -> Optional[Rule]:
    try:
        user, resource, rights, zone = (int(xml_values.text(item, key), 16) for key in _NUMBERS)
    except ValueError:
        return None
    return Rule(xml_values.number(item, "ID"), user, resource, rights, zone, xml_values.text(item, "STRING"))
