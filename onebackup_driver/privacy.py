# SPDX-License-Identifier: Apache-2.0
"""Who may read restore points that came back from a repository.

oned makes the apps that a driver lists with rights for everybody (umask 0133, src/market/MarketPlaceAppPool.cc): every
tenant could export every disk, and read the CONTEXT of every VM. They are closed as soon as a run sees them, once:
what an admin opens afterwards stays open.
"""

from __future__ import annotations

from onebackup_driver import errors, vm, xml_values
from onebackup_driver.app import App
from onebackup_driver.context import Context

#: Written into what is listed, so that it is told from apps that somebody opened on purpose.
MARK = "ONEBACKUP_LISTED"
_OWNER_ONLY = (1, 1, 0, 0, 0, 0, 0, 0, 0)


def close(context: Context, apps: list[App]) -> list[int]:
    """Let only the owner read listed apps of ours; the ids of those that were open."""
    closed = []
    for app in apps:
        if app.uid != context.own_uid or xml_values.text(app.element, f"TEMPLATE/{MARK}") != "YES":
            continue
        try:
            if vm.permissions(app.element) != _OWNER_ONLY:
                context.front_end.repeat("one.marketapp.chmod", app.app_id, *_OWNER_ONLY)
                closed.append(app.app_id)
            context.front_end.repeat("one.marketapp.update", app.app_id, f'{MARK}="CLOSED"', 1)
        except errors.FrontEndError as error:
            context.log.warning("App %s can be read by others, and that cannot be changed now: %s", app.app_id, error)
    return closed
