# SPDX-License-Identifier: Apache-2.0
"""one.acl.*: the rules of the front-end."""

from __future__ import annotations

from dataclasses import asdict

from sandbox.core import acl, errors, rights
from sandbox.core.acl import Rule
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record


def add(front: Front, rule: Rule) -> int:
    """Keep a rule; its id."""
    number = front.counters.get("acl", 0)
    front.counters["acl"] = number + 1
    front.add(Record("acl", number, str(rule), fields=asdict(rule)))
    return number


@method("one.acl.info", "")
def info(front: Front, caller: Caller) -> str:
    _require(caller)
    return f"<ACL_POOL>{''.join(acl.of(record).xml(record.id) for record in front.all('acl'))}</ACL_POOL>"


@method("one.acl.addrule", "sss|s")
def add_rule(front: Front, caller: Caller, user: str, resource: str, rule_rights: str, zone: str = "100000000") -> int:
    _require(caller)
    try:
        rule = Rule(*(int(text, 16) for text in (user, resource, rule_rights, zone)))
    except ValueError:
        rule = Rule(0, 0, 0, 0)
    if rule in map(acl.of, front.all("acl")):
        raise errors.internal(f"Rule {rule} already exists")
    if rule.problem():
        raise errors.internal(f"Rule {rule} is malformed: {rule.problem()}")
    return add(front, rule)


@method("one.acl.delrule", "i")
def delete_rule(front: Front, caller: Caller, number: int) -> int:
    _require(caller)
    record = front.find("acl", number)
    if record is None:
        raise errors.internal(f"Rule {number} does not exist")
    front.drop(record)
    return number


def _require(caller: Caller) -> None:
    if not caller.is_admin:
        text = f"User [{caller.uid}] : Not authorized to perform {rights.MANAGE} ACL."
        raise errors.CallError(errors.AUTHORIZATION, text)
