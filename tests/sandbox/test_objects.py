# SPDX-License-Identifier: Apache-2.0
"""Rules that all kinds of objects share: names, owners, rights, locks, filters and pages of pools."""
from __future__ import annotations

import pytest

from sandbox.process import FrontEnd
from tests.sandbox import driving

LOCKABLE = ("vm", "image", "template", "marketapp", "vn")
OWNED = (*LOCKABLE, "datastore", "market")


def make(front_end: FrontEnd, kind: str, name: str, session: str | None = None) -> int:
    texts = {
        "vm": f'NAME="{name}"\nCPU="0.1"\nMEMORY="64"\nGUEST="none"', "template": f'NAME="{name}"\nCPU="1"',
        "image": f'NAME="{name}"\nSIZE="4"\nTYPE="DATABLOCK"', "vn": f'NAME="{name}"\nVN_MAD="dummy"\nBRIDGE="b"',
        "marketapp": f'NAME="{name}"\nTYPE="VMTEMPLATE"\nORIGIN_ID="-1"', "hook":
            f'NAME="{name}"\nTYPE="api"\nCALL="one.vm.update"\nCOMMAND="x"',
        "datastore": f'NAME="{name}"\nTM_MAD="qcow2"\nDS_MAD="fs"',
        "market": f'NAME="{name}"\nMARKET_MAD="http"\nBASE_URL="http://127.0.0.1:9/"\nPUBLIC_DIR="/nonexistent"',
    }
    more: dict[str, list[object]] = {"image": [1], "marketapp": [_market(front_end)] if kind == "marketapp" else []}
    return int(front_end.call(f"one.{kind}.allocate", texts[kind], *more.get(kind, []), session=session))


def _market(front_end: FrontEnd) -> int:
    return make(front_end, "market", driving.name("market"))


@pytest.mark.both_versions
@pytest.mark.parametrize("kind", [*OWNED, "hook"])
def test_unusable_names_are_refused(front_end: FrontEnd, version: str, kind: str) -> None:
    code = 16384 if version == "7.4" or kind == "image" else 8192
    reasons = {"": "cannot be empty", "x" * 129: "max length is 128 chars", "ä" * 65: "max length is 128 chars"}
    reasons.update({f"a{character}b": f"char '{character}' is not allowed" for character in "&|:;/'#{}$<>"})
    for name, reason in reasons.items():
        if not (kind == "vm" and name == ""):
            with driving.refused(code, "Invalid name." if kind == "hook" else f"Invalid NAME, {reason}" if name else
                                 "Invalid NAME, it cannot be empty"):
                make(front_end, kind, name)


@pytest.mark.parametrize("kind", OWNED)
def test_a_name_belongs_to_one_object_of_an_owner(front_end: FrontEnd, kind: str) -> None:
    name = driving.name(kind)
    first = make(front_end, kind, name)
    if kind == "vm":
        assert make(front_end, kind, name) == first + 1
        return
    with driving.refused(16384, "NAME is already taken by "):
        make(front_end, kind, name)
    other = make(front_end, kind, driving.name(kind))
    with driving.refused(2048, f"cannot be renamed to {name} because it collides with"):
        front_end.call(f"one.{kind}.rename", other, name)
    with driving.refused(2048, "Invalid NAME, char '/' is not allowed"):
        front_end.call(f"one.{kind}.rename", other, "a/b")
    renamed = driving.name(kind)
    assert front_end.call(f"one.{kind}.rename", other, renamed) == other
    assert driving.xml(front_end, kind, other).findtext("NAME") == renamed


@pytest.mark.parametrize("kind", LOCKABLE)
def test_locks_bind_oneadmin_too(front_end: FrontEnd, kind: str) -> None:
    number = make(front_end, kind, driving.name(kind))
    if kind == "image":
        driving.wait(front_end, kind, number, driving.READY)
    assert front_end.call(f"one.{kind}.lock", number, 1, False) == number
    locked = driving.xml(front_end, kind, number).find("LOCK")
    assert locked is not None and [child.tag for child in locked] == ["LOCKED", "OWNER", "TIME", "REQ_ID"]
    update = (f"one.{kind}.update", number, 'A="1"', 1)
    with driving.refused(512, f"is locked. [{number}]."):
        front_end.call(*update)
    with driving.refused(512, "is locked."):
        front_end.call("one.vm.action", "terminate-hard", number) if kind == "vm" else front_end.call(
            f"one.{kind}.delete", number)
    front_end.call(f"one.{kind}.unlock", number)
    assert front_end.call(*update) == number
    assert driving.xml(front_end, kind, number).find("LOCK") is None


def test_a_lock_is_taken_off_by_its_owner_or_an_administrator(front_end: FrontEnd) -> None:
    _, session = driving.user(front_end)
    number = make(front_end, "template", driving.name("t"), session)
    front_end.call("one.template.lock", number, 2)
    with driving.refused(2048, "Cannot unlock: Lock is owned by another user"):
        front_end.call("one.template.unlock", number, session=session)
    front_end.call("one.template.unlock", number)


@pytest.mark.parametrize("kind", OWNED)
def test_owner_and_rights_can_be_changed(front_end: FrontEnd, kind: str) -> None:
    number = make(front_end, kind, driving.name(kind))
    user, session = driving.user(front_end)
    bits = driving.xml(front_end, kind, number).find("PERMISSIONS")
    assert bits is not None and "".join(child.text or "" for child in bits)[:3] == "110"
    front_end.call(f"one.{kind}.chmod", number, -1, -1, -1, 1, -1, -1, 1, -1, -1)
    bits = driving.xml(front_end, kind, number, session).find("PERMISSIONS")
    assert bits is not None and "".join(child.text or "" for child in bits) == "110100100"
    with driving.refused(8192, "New permission values must be -1, 0 or 1"):
        front_end.call(f"one.{kind}.chmod", number, 7, -1, -1, -1, -1, -1, -1, -1, -1)
    assert front_end.call(f"one.{kind}.chown", number, user, 1) == number
    owner = driving.xml(front_end, kind, number)
    assert (owner.findtext("UID"), owner.findtext("GID"), owner.findtext("GNAME")) == (str(user), "1", "users")
    front_end.call(f"one.{kind}.update", number, 'MINE="1"', 1, session=session)
    with driving.refused(1024, "Error getting user [9999]."):
        front_end.call(f"one.{kind}.chown", number, 9999, -1)


@pytest.mark.parametrize("kind", ["vm", "image", "template"])
def test_others_objects_are_out_of_reach(front_end: FrontEnd, kind: str) -> None:
    number = make(front_end, kind, driving.name(kind))
    user, session = driving.user(front_end)
    what = kind.upper()
    with driving.refused(512, f"[one.{kind}.info] User [{user}] : Not authorized to perform USE {what} [{number}]."):
        front_end.call(f"one.{kind}.info", number, session=session)
    with driving.refused(512, f"User [{user}] : Not authorized to perform MANAGE {what} [{number}]."):
        front_end.call(f"one.{kind}.update", number, "A=1", 1, session=session)
    assert f"<ID>{number}</ID>" not in front_end.call(f"one.{kind}pool.info", -2, -1, -1, *[-1][: kind == "vm"],
                                                     session=session)


def test_no_such_object(front_end: FrontEnd) -> None:
    names = {"vm": "virtual machine", "image": "image", "template": "virtual machine template", "host": "host",
             "vn": "virtual network", "marketapp": "marketplaceapp", "market": "marketplace", "user": "user",
             "datastore": "datastore", "group": "group", "cluster": "cluster", "zone": "zone", "hook": "hook"}
    for kind, name in names.items():
        got = driving.refusal(lambda kind=kind: front_end.call(f"one.{kind}.info", 99999))  # type: ignore[misc]
        assert got == (1024, f"[one.{kind}.info] Error getting {name} [99999].")


def test_restricted_attributes_are_for_administrators(front_end: FrontEnd) -> None:
    user, session = driving.user(front_end)
    for attribute, text in (("RAW", 'RAW=[TYPE="kvm"]'), ("FILES", 'CONTEXT=[FILES="/x"]'),
                            ("MAC", 'NIC=[MAC="02:00:00:00:00:01"]')):
        name = driving.name("t")
        with driving.refused(512, f"User [{user}] : VM Template includes a restricted attribute {attribute}."):
            front_end.call("one.template.allocate", f'NAME="{name}"\n{text}', session=session)
        assert front_end.call("one.template.allocate", f'NAME="{name}"\n{text}') >= 0
    with driving.refused(512, "Template includes a restricted attribute SOURCE."):
        front_end.call("one.image.allocate", 'NAME="x"\nSOURCE="/x"\nSIZE="1"', 1, session=session)


def test_pools_have_filters_and_pages(fresh_front_end: FrontEnd) -> None:
    _, session = driving.user(fresh_front_end)
    mine = [make(fresh_front_end, "template", f"t{number}") for number in range(4)]
    theirs = make(fresh_front_end, "template", "theirs", session)

    def shown(*arguments: int, who: str | None = None) -> list[int]:
        from lxml import etree

        text = fresh_front_end.call("one.templatepool.info", *arguments, session=who)
        return [int(child.findtext("ID") or -1) for child in etree.fromstring(text.encode())]

    assert shown(-2, -1, -1) == [theirs, *reversed(mine)]
    assert shown(-3, -1, -1) == list(reversed(mine))
    assert shown(-2, -1, -1, who=session) == [theirs]
    assert shown(-2, 1, 2) == [2, 1]
    assert shown(-2, 0, -2) == [4, 3]
    assert shown(-2, 3, -2) == [1, 0]


def test_vm_pools_choose_by_state_and_attribute(fresh_front_end: FrontEnd) -> None:
    first = driving.vm(fresh_front_end, more='LABEL="red"\nBACKUP=[MARKETPLACE_ID="7"]\n')
    second = driving.vm(fresh_front_end)
    driving.act(fresh_front_end, "terminate-hard", second, driving.DONE)

    def shown(state: int, query: str = "") -> list[int]:
        text = fresh_front_end.call("one.vmpool.infoextended", -2, -1, -1, state, query)
        return [number for number in (first, second) if f"<VM><ID>{number}</ID>" in text]

    assert (shown(-1), shown(-2), shown(6), shown(8)) == ([first], [first, second], [second], [])
    assert (shown(-1, "LABEL=red"), shown(-1, "LABEL=blue")) == ([first], [])
