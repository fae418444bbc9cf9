# SPDX-License-Identifier: Apache-2.0
"""Whether a VM's owner may have backups put into a marketplace.

The owner writes MARKETPLACE_ID, and we act with oneadmin's rights: without a list of the site's
(`allowed_marketplaces`) a tenant could fill any marketplace, also one that oned does not let the tenant use.
"""

from __future__ import annotations

from onebackup_driver import acl, errors
from onebackup_driver.acl import Rule, User
from onebackup_driver.app import Marketplace
from onebackup_driver.context import Context


def check(context: Context, uid: int, marketplace: Marketplace) -> None:
    """Raise Refused when the site has no list of marketplaces and the user may not use this one."""
    if context.configuration.allowed_marketplaces or marketplace.element is None:
        return
    if uid == 0 or uid == context.own_uid:
        return
    try:
        rules = acl.parse_pool(context.front_end.element("one.acl.info"))
    except errors.NotAuthorized:
        return  # no admin's session: oned asks the same of us
    if not _may_use(context, uid, marketplace, rules):
        number = marketplace.marketplace_id
        raise errors.Refused(
            f"marketplace {number} ({marketplace.name}) may not be used by the VM's owner, user {uid}; an admin can"
            " name it in allowed_marketplaces of onebackup.yaml, or give the right to it with:"
            f" oneacl create '#{uid} MARKETPLACE/#{number} USE'"
        )


def _may_use(context: Context, uid: int, marketplace: Marketplace, rules: list[Rule]) -> bool:
    """The user's groups are asked for only when it depends on them."""
    assert marketplace.element is not None
    if acl.may_use(rules, acl.MARKETPLACE, marketplace.element, User(uid)):
        return True
    try:
        user = acl.parse_user(context.front_end.element("one.user.info", uid))
    except errors.NoSuchObject:
        return False
    return acl.may_use(rules, acl.MARKETPLACE, marketplace.element, user)
