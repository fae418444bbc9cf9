# SPDX-License-Identifier: Apache-2.0
"""The calls that every kind has alike: info, pools with filters and pages, rename, chown, chmod, lock, update."""

from __future__ import annotations

from typing import Callable

from sandbox.core import errors, names, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front, set_owner
from sandbox.core.kinds import KINDS, LOCKABLE
from sandbox.core.methods import method
from sandbox.core.record import Record, now
from sandbox.core.template import Template
from sandbox.core.template_text import TemplateSyntax
from sandbox.objects import render, restricted

UpdateCheck = Callable[[Front, Caller, Record, Template], None]
AFTER_UPDATE: dict[str, UpdateCheck] = {}
UPDATABLE = ("image", "template", "vn", "datastore", "market", "marketapp", "host", "cluster", "user", "group", "zone",
             "secgroup", "hook", "document")
DONE = 6


def page(records: list[Record], start: int = -1, end: int = -1) -> list[Record]:
    """Newest first; `end < -1` means at most `-end` objects from offset `start`, otherwise a range of ids."""
    records = sorted(records, key=lambda record: -record.id)
    if end < -1:
        return records[max(start, 0):max(start, 0) - end]
    if start == -1:
        return records
    return [record for record in records if record.id >= start and (end == -1 or record.id <= end)]


def pool_xml(front: Front, kind: str, records: list[Record], extended: bool = False) -> str:
    draw = (render.EXTENDED if extended else render.IN_POOL)[kind]
    root = KINDS[kind].pool_root
    return f"<{root}>" + "".join(draw(front, record) for record in records) + f"</{root}>"


def _info(kind: str) -> None:
    @method(f"one.{kind}.info", "i|b")
    def info(front: Front, caller: Caller, object_id: int, decrypt: bool = False) -> str:
        if kind == "user" and object_id == -1:
            object_id = caller.uid
        if kind == "group" and object_id == -1:
            object_id = caller.gid
        record = front.get(kind, object_id)
        rights.require(caller, rights.USE, record, ignore_lock=True)
        return render.in_call(front, record)


def _pool(kind: str) -> None:
    if not KINDS[kind].owned or kind in ("datastore", "market"):
        @method(f"one.{kind}pool.info", "|iii")
        def plain(front: Front, caller: Caller, *ignored: int) -> str:
            shown = [record for record in front.all(kind) if rights.visible(caller, record, -2)]
            return pool_xml(front, kind, page(shown))
    else:
        @method(f"one.{kind}pool.info", "iii|i")
        def filtered(front: Front, caller: Caller, who: int, start: int, end: int, extra: int = -1) -> str:
            shown = [record for record in front.all(kind) if rights.visible(caller, record, who)]
            return pool_xml(front, kind, page(shown, start, end))


def _rename(kind: str) -> None:
    @method(f"one.{kind}.rename", "is")
    def rename(front: Front, caller: Caller, object_id: int, name: str) -> int:
        record = front.get(kind, object_id)
        rights.require(caller, rights.MANAGE, record)
        if name == record.name:
            return object_id
        other = front.by_name(kind, name, None if KINDS[kind].unique == "all" else record.uid)
        if other is not None and KINDS[kind].unique != "none":
            what = KINDS[kind].long_name
            raise errors.action(f"{what} cannot be renamed to {name} because it collides with {what} {other.id}")
        problem = names.problem(name)
        if problem:
            raise errors.action(problem)
        record.name = name
        front.save(record)
        return object_id


def _chown(kind: str) -> None:
    @method(f"one.{kind}.chown", "iii")
    def chown(front: Front, caller: Caller, object_id: int, uid: int, gid: int) -> int:
        record = front.get(kind, object_id)
        if kind == "vm" and record["state"] == DONE:
            raise errors.action("Could not change VM ownership, wrong state")
        right = rights.ADMIN if uid > -1 else rights.MANAGE
        rights.require(caller, right, record)
        owner = front.get("user", uid) if uid > -1 else front.find("user", record.uid)
        if gid > -1:
            front.get("group", gid)
        _no_clash(front, record, uid)
        if owner is not None:
            set_owner(record, owner, gid if gid > -1 else record.gid, front)
        front.save(record)
        return object_id


def _no_clash(front: Front, record: Record, uid: int) -> None:
    if uid in (-1, record.uid) or KINDS[record.kind].unique != "owner":
        return
    other = front.by_name(record.kind, record.name, uid)
    if other is not None:
        what = KINDS[record.kind]
        raise errors.internal(f"user [{uid}] already owns {what.right_name} [{other.id}] with NAME {record.name}")


def _chmod(kind: str) -> None:
    @method(f"one.{kind}.chmod", "iiiiiiiiii")
    def chmod(front: Front, caller: Caller, object_id: int, *bits: int) -> int:
        record = front.get(kind, object_id)
        changed = any(bits[place] not in (-1, record.rights[place]) for place in (2, 5, 8))
        rights.require(caller, rights.ADMIN if changed else rights.MANAGE, record)
        if any(bit not in (-1, 0, 1) for bit in bits):
            raise errors.internal("New permission values must be -1, 0 or 1")
        record.rights = [old if bit == -1 else bit for old, bit in zip(record.rights, bits)]
        front.save(record)
        return object_id


def _locks(kind: str) -> None:
    @method(f"one.{kind}.lock", "ii|b")
    def lock(front: Front, caller: Caller, object_id: int, level: int, test: bool = False) -> int:
        record = front.get(kind, object_id)
        rights.require(caller, rights.MANAGE, record, ignore_lock=True)
        if test and record.lock is not None:
            raise errors.action("Error trying to lock the resource.")
        if not 0 <= level <= 4:
            raise errors.action("Wrong lock level specified" if front.settings.modern else
                                "Error trying to lock the resource.")
        record.lock = rights.lock_of(level, caller, now(), caller.request) if level else None
        front.save(record)
        return object_id

    @method(f"one.{kind}.unlock", "i")
    def unlock(front: Front, caller: Caller, object_id: int) -> int:
        record = front.get(kind, object_id)
        rights.require(caller, rights.MANAGE, record, ignore_lock=True)
        if record.lock and not caller.is_admin and record.lock["OWNER"] != caller.uid:
            raise errors.action("Cannot unlock: Lock is owned by another user")
        record.lock = None
        front.save(record)
        return object_id


def _update(kind: str) -> None:
    @method(f"one.{kind}.update", "is|i")
    def update(front: Front, caller: Caller, object_id: int, text: str, append: int = 0) -> int:
        record = front.get(kind, object_id)
        rights.require(caller, rights.MANAGE, record)
        record.template = changed_template(front, caller, record, record.template, text, append)
        check = AFTER_UPDATE.get(kind)
        if check:
            check(front, caller, record, record.template)
        if record.template.storable():
            front.save(record)
        return object_id


def changed_template(front: Front, caller: Caller, record: Record, old: Template, text: str, append: int) -> Template:
    """The template after one.*.update; restricted attributes stay as they were for ordinary users."""
    if append not in (0, 1):
        raise errors.CallError(errors.RPC_API, "Wrong update type")
    new = parsed(text, "Cannot update template. ")
    if not caller.is_admin:
        new = restricted.kept(record.kind, old, new, append == 1)
    if append == 0:
        return new
    merged = old.copy()
    merged.merge(new)
    return merged


def parsed(text: str, prefix: str = "", code: int = errors.INTERNAL) -> Template:
    """The template of an argument, or the refusal with the parser's message."""
    try:
        return Template.parse(text)
    except TemplateSyntax as error:
        raise errors.CallError(code, f"{prefix}{error}") from None


for _kind in KINDS:
    _info(_kind)
    if _kind != "vm":
        _pool(_kind)
    if _kind in UPDATABLE:
        _update(_kind)
    if _kind not in ("user", "group", "hook"):
        _rename(_kind)
    if KINDS[_kind].owned:
        _chmod(_kind)
        _chown(_kind)
for _kind in LOCKABLE:
    _locks(_kind)
