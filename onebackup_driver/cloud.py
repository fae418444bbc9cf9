# SPDX-License-Identifier: Apache-2.0
"""The front-end's objects, read and parsed; and looked up by name or run where an answer was lost."""

from __future__ import annotations

from typing import Any, Optional

from lxml import etree

from onebackup_driver import app, clock, errors, names, vm, xml_values
from onebackup_driver.context import Context

#: Filter flag for the pools: everything this user may see (include/PoolSQL.h).
_ALL = -2
_LOOK_AGAIN_S = 5.0
_POOLS = {"image": "one.imagepool.info", "template": "one.templatepool.info", "marketapp": "one.marketapppool.info"}


def machine(context: Context, vm_id: int) -> vm.VirtualMachine:
    """The VM as it is now. Raises Refused when there is none with this id."""
    found = machine_or_none(context, vm_id)
    if found is None:
        raise errors.Refused(f"there is no VM {vm_id} on this front-end; see: onevm list")
    return found


def machine_or_none(context: Context, vm_id: int) -> Optional[vm.VirtualMachine]:
    """The VM as it is now; None when there is none. oned also says so when its database fails for a moment, and a
    terminated VM is still shown: so the pool is asked too. Raises FrontEndError when the two disagree."""
    try:
        return vm.parse(context.front_end.element("one.vm.info", vm_id))
    except errors.NoSuchObject:
        pool = context.front_end.element("one.vmpool.info", _ALL, vm_id, vm_id, -2)
        if any(xml_values.number(item, "ID") == vm_id for item in pool):
            raise
        return None


def image(context: Context, image_id: int) -> etree._Element:
    """One image. Raises NoSuchObject."""
    return context.front_end.element("one.image.info", image_id)


def marketplace(context: Context, marketplace_id: int) -> app.Marketplace:
    """One marketplace. Raises Refused when there is none with this id."""
    try:
        return app.parse_marketplace(context.front_end.element("one.market.info", marketplace_id))
    except errors.NoSuchObject as error:
        raise errors.Refused(
            f"there is no marketplace {marketplace_id} on this front-end; see: onemarket list"
        ) from error


def one_app(context: Context, app_id: int) -> app.App:
    """One marketplace app. Raises NoSuchObject."""
    return app.parse(context.front_end.element("one.marketapp.info", app_id))


def apps(context: Context) -> list[app.App]:
    """Every app this user may see."""
    return app.parse_pool(context.front_end.element("one.marketapppool.info", _ALL, -1, -1))


def made_by(context: Context, kind: str, run: str) -> list[int]:
    """Ids of the images or templates of ours whose names carry the run id."""
    pool = context.front_end.element(_POOLS[kind], _ALL, -1, -1)
    return [
        xml_values.number(item, "ID")
        for item in pool
        if names.carries(xml_values.text(item, "NAME"), run) and xml_values.number(item, "UID") == context.own_uid
    ]


def create(context: Context, kind: str, name: str, method: str, *arguments: Any) -> int:
    """Make an object of a unique name; its id. When the answer is lost, the object is looked for by its name.

    Raises CallRefused, Unreachable, or OutcomeUnknown when it did not appear.
    """
    try:
        return int(context.front_end.call(method, *arguments))
    except errors.OutcomeUnknown:
        context.log.warning("No answer to %s, looking whether it was carried out", method)
        found = _appeared(context, kind, name)
        if found is None:
            raise
        return found


def _appeared(context: Context, kind: str, name: str) -> Optional[int]:
    deadline = clock.monotonic() + _LOOK_AGAIN_S
    while True:
        for item in context.front_end.element(_POOLS[kind], _ALL, -1, -1):
            if xml_values.text(item, "NAME") == name and xml_values.number(item, "UID") == context.own_uid:
                return xml_values.number(item, "ID")
        if clock.monotonic() > deadline:
            return None
        clock.sleep(0.5)
