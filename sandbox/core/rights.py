# SPDX-License-Identifier: Apache-2.0
"""Who may do what: owner, group and other bits, ACL rules, and locks (which bind oneadmin too)."""

from __future__ import annotations

from sandbox.core import errors
from sandbox.core.caller import Caller
from sandbox.core.kinds import KINDS
from sandbox.core.record import Record

USE, MANAGE, ADMIN, CREATE = "USE", "MANAGE", "ADMIN", "CREATE"
LEVEL = {USE: 1, MANAGE: 2, ADMIN: 4, CREATE: 8}
USERS_CREATE = {"vm", "vn", "image", "template", "document", "secgroup"}
# The default VDC, which every group is in.
ALL_USE = {"cluster", "datastore", "vn"}


def require(caller: Caller, right: str, record: Record, ignore_lock: bool = False) -> None:
    """Raises the refusal that oned gives when `caller` lacks `right` on the object or the object is locked."""
    kind = KINDS[record.kind]
    if not ignore_lock and locked(record, right):
        text = f"{kind.right_name} is locked. [{record.id}]"
        raise errors.CallError(errors.AUTHORIZATION, f"User [{caller.uid}] : {text}.")
    if not allowed(caller, right, record):
        text = f"Not authorized to perform {right} {kind.right_name} [{record.id}]"
        raise errors.CallError(errors.AUTHORIZATION, f"User [{caller.uid}] : {text}.")


def locked(record: Record, right: str) -> bool:
    """A lock of level 1 refuses everything from USE up, 4 only ADMIN."""
    return record.lock is not None and record.lock["LOCKED"] <= LEVEL[right]


def require_create(caller: Caller, kind: str, right: str = CREATE) -> None:
    """Raises unless the caller may create objects of that kind."""
    if caller.is_admin or kind in USERS_CREATE:
        return
    text = f"Not authorized to perform {right} {KINDS[kind].right_name}"
    raise errors.CallError(errors.AUTHORIZATION, f"User [{caller.uid}] : {text}.")


def allowed(caller: Caller, right: str, record: Record) -> bool:
    if caller.is_admin or (right == USE and record.kind in ALL_USE):
        return True
    if any(rule.grants(right, record) for rule in caller.rules):
        return True
    if record.kind == "user" and record.id == caller.uid:
        return right in (USE, MANAGE)
    if record.kind == "group":
        return right == USE and record.id in caller.groups
    if right == CREATE or not KINDS[record.kind].owned:
        return False
    return _bit(caller, right, record)


def _bit(caller: Caller, right: str, record: Record) -> bool:
    offset = {USE: 0, MANAGE: 1, ADMIN: 2}[right]
    if record.uid == caller.uid and record.rights[offset]:
        return True
    if record.gid in caller.groups and record.rights[3 + offset]:
        return True
    return bool(record.rights[6 + offset])


def visible(caller: Caller, record: Record, who: int) -> bool:
    """The filter flag of pool calls: -4 primary group, -3 own, -2 all, -1 own and groups', >= 0 that user's."""
    if not allowed(caller, USE, record):
        return False
    if who == -2 or not KINDS[record.kind].owned:
        return True
    if who == -4:
        return record.gid == caller.gid
    if who == -1:
        return record.uid == caller.uid or record.gid in caller.groups
    return record.uid == (caller.uid if who == -3 else who)


def lock_of(level: int, caller: Caller, time_s: int, request: int) -> dict[str, int]:
    """The LOCK of an object for a level as given in the call (1 USE … 4 ALL → oned's USE, MANAGE, ADMIN)."""
    return {"LOCKED": level, "OWNER": caller.uid, "TIME": time_s, "REQ_ID": request}
