# SPDX-License-Identifier: Apache-2.0
"""Users, groups and their passwords and login tokens."""

from __future__ import annotations

import secrets
import time
from typing import Any

from sandbox.core import acl, auth, errors, names, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record, remove_id
from sandbox.core.template import Template
from sandbox.core.xml_text import cdata, tag
from sandbox.objects import acls, generic, render, restricted
from sandbox.objects import quotas as holder_quotas


def make_user(front: Front, name: str, password: str, driver: str, gid: int) -> Record:
    """A user record; `password` in clear, stored hashed (an empty one can never log in)."""
    group = front.get("group", gid)
    record = Record("user", front.next_id("user"), name, gname=group.name)
    record.uid, record.gid = record.id, gid
    hashed = auth.hashed(password) if password else secrets.token_hex(32)
    record.fields = {"gid": gid, "groups": [], "password": hashed, "driver": driver, "enabled": True, "tokens": []}
    record.template = Template([("TOKEN_PASSWORD", secrets.token_hex(32))])
    return front.add(record)


@method("one.user.allocate", "ss|sa")
def user_allocate(front: Front, caller: Caller, name: str, password: str, driver: str = "",
                  groups: list[Any] = []) -> int:  # noqa: B006 (never changed)
    rights.require_create(caller, "user")
    gids = [int(gid) for gid in groups] or [1]
    for gid in gids:
        front.get("group", gid)
    problem = front.check_name("user", name, -1)
    if problem is None and not password:
        problem = "Invalid password, it cannot be empty"
    if problem:
        raise names.allocation_error("user", problem, front.settings.modern)
    record = make_user(front, name, password, driver or "core", gids[0])
    record["groups"] = gids[1:]
    return record.id


@method("one.user.delete", "i")
def user_delete(front: Front, caller: Caller, user_id: int) -> int:
    record = front.get("user", user_id)
    if not caller.is_admin:
        rights.require(caller, rights.ADMIN, record)
    if user_id == 0:
        raise errors.action("Cannot delete user. oneadmin cannot be deleted.")
    front.drop(record)
    return user_id


@method("one.user.passwd", "is")
def user_passwd(front: Front, caller: Caller, user_id: int, password: str) -> int:
    record = front.get("user", caller.uid if user_id == -1 else user_id)
    rights.require(caller, rights.MANAGE, record)
    if not password:
        raise errors.internal("Invalid password, it cannot be empty")
    record["password"] = auth.hashed(password)
    front.save(record)
    return record.id


@method("one.user.chgrp", "ii")
def user_chgrp(front: Front, caller: Caller, user_id: int, gid: int) -> int:
    record, group = front.get("user", user_id), front.get("group", gid)
    rights.require_create(caller, "user", rights.MANAGE)
    record["gid"], record.gname = gid, group.name
    front.save(record)
    return user_id


@method("one.user.addgroup", "ii")
def user_addgroup(front: Front, caller: Caller, user_id: int, gid: int) -> int:
    record = front.get("user", user_id)
    front.get("group", gid)
    rights.require_create(caller, "user", rights.MANAGE)
    if gid == record["gid"] or gid in record["groups"]:
        raise errors.internal(f"User is already in group {gid}")
    record["groups"].append(gid)
    front.save(record)
    return user_id


@method("one.user.delgroup", "ii")
def user_delgroup(front: Front, caller: Caller, user_id: int, gid: int) -> int:
    record = front.get("user", user_id)
    rights.require_create(caller, "user", rights.MANAGE)
    remove_id(record["groups"], gid)
    front.save(record)
    return user_id


@method("one.user.enable", "ib", versions=("7.4",))
def user_enable(front: Front, caller: Caller, user_id: int, enable: bool) -> int:
    record = front.get("user", user_id)
    rights.require_create(caller, "user", rights.ADMIN)
    record["enabled"] = enable
    front.save(record)
    return user_id


@method("one.user.login", "ssi|i")
def user_login(front: Front, caller: Caller, name: str, token: str, period_s: int, gid: int = -1) -> str:
    record = front.by_name("user", name)
    if record is None:
        raise errors.no_exists("user", -1)
    rights.require(caller, rights.MANAGE, record)
    tokens = record.fields.setdefault("tokens", [])
    if period_s == 0:
        record["tokens"] = [item for item in tokens if token and item["token"] != token]
        token = ""
    else:
        token = token or secrets.token_hex(20)
        tokens.append({"token": token, "expires": -1 if period_s < 0 else int(time.time()) + period_s})
    front.save(record)
    return token


@method("one.userpool.info", "")
def user_pool(front: Front, caller: Caller) -> str:
    quotas = render.QUOTAS
    shown = [user for user in front.all("user") if rights.allowed(caller, rights.USE, user)]
    parts = []
    for user in generic.page(shown):
        limits = tag("QUOTAS", tag("ID", user.id) + holder_quotas.xml(front, user))
        parts += [tag("USER", render.user_body(user)), limits]
    return tag("USER_POOL", "".join(parts) + tag("DEFAULT_USER_QUOTAS", quotas))


@method("one.grouppool.info", "")
def group_pool(front: Front, caller: Caller) -> str:
    quotas = render.QUOTAS
    parts = []
    for group in generic.page([item for item in front.all("group") if rights.allowed(caller, rights.USE, item)]):
        members = [user.id for user in front.all("user") if group.id in (user["gid"], *user["groups"])]
        parts += [tag("GROUP", render.group_body(group, members)),
                  tag("QUOTAS", tag("ID", group.id) + holder_quotas.xml(front, group))]
    return tag("GROUP_POOL", "".join(parts) + tag("DEFAULT_GROUP_QUOTAS", quotas))


@method("one.group.allocate", "s")
def group_allocate(front: Front, caller: Caller, name: str) -> int:
    rights.require_create(caller, "group")
    problem = front.check_name("group", name, -1)
    if problem:
        raise names.allocation_error("group", problem, front.settings.modern)
    return make_group(front, name).id


def make_group(front: Front, name: str) -> Record:
    record = Record("group", front.next_id("group"), name)
    for rule in acl.of_group(record.id):
        acls.add(front, rule)
    return front.add(record)


@method("one.group.delete", "i")
def group_delete(front: Front, caller: Caller, gid: int) -> int:
    record = front.get("group", gid)
    rights.require_create(caller, "group", rights.ADMIN)
    if gid < 100:
        raise errors.action("Cannot delete group. System Groups (ID < 100) cannot be deleted.")
    if any(gid in (user["gid"], *user["groups"]) for user in front.all("user")):
        raise errors.action(f"Cannot delete group. Group {gid} is not empty.")
    front.drop(record)
    for rule in front.all("acl"):
        if rule["user"] == acl.GROUP | gid:
            front.drop(rule)
    return gid


@method("one.system.version", "")
def version(front: Front, caller: Caller) -> str:
    return front.settings.release


@method("one.system.config", "")
def config(front: Front, caller: Caller) -> str:
    if not caller.is_admin:
        raise errors.CallError(errors.AUTHORIZATION, f"User [{caller.uid}] : Not authorized to perform ADMIN CONFIG.")
    names = [*sorted(restricted.RESTRICTED["image"]), *front.faults.restricted]
    known = "".join(cdata("IMAGE_RESTRICTED_ATTR", name) for name in names)
    place = cdata("DATASTORE_LOCATION", str(front.settings.state / "datastores"))
    return tag("OPENNEBULA_CONFIGURATION", place + known)


@method("one.zone.raftstatus", "")
def raft_status(front: Front, caller: Caller) -> str:
    keys = (("SERVER_ID", -1), ("STATE", 0), ("TERM", 0), ("VOTEDFOR", -1), ("COMMIT", 0), ("LOG_INDEX", 0),
            ("LOG_TERM", 0), ("FEDLOG_INDEX", -1))
    return tag("RAFT", "".join(tag(key, front.faults.raft.get(key, value)) for key, value in keys))
