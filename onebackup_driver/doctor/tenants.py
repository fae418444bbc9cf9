# SPDX-License-Identifier: Apache-2.0
"""Can users who are no admins read the backups of others, by OpenNebula's own rules?

There are three ways. OpenNebula's default rule `* MARKETPLACE+MARKETPLACEAPP/* USE *` (src/acl/AclManager.cc) lets
everybody look at each app and at the template of each marketplace, with the keys of an S3 bucket in clear. Permissions
can do the same. And one.image.allocate makes an image of any app whose id it is told (FROM_APP) for whoever may make
images: it asks for no right to the app (6.4.0 src/rm/RequestManagerAllocate.cc, 7.4.0 src/rm/api/ImageAPI.cc).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lxml import etree

from onebackup_driver import acl, app, cloud, states, trust, xml_values
from onebackup_driver.acl import Rule, User
from onebackup_driver.app import App, Marketplace
from onebackup_driver.context import Context
from onebackup_driver.doctor import finding
from onebackup_driver.doctor.finding import Finding

_NAME = "tenants"
_SECRET = "SECRET_ACCESS_KEY"
_FROM_APP = "FROM_APP"
_OWNER_ONLY = "600"
_SHOWN = 5


@dataclass(frozen=True)
class _Cloud:
    """`apps`: those of restore points. `users`: those who are no admins. `restricted`: IMAGE_RESTRICTED_ATTR."""

    users: list[User]
    rules: list[Rule]
    apps: list[App]
    markets: list[Marketplace]
    restricted: list[str]

    @property
    def with_keys(self) -> list[Marketplace]:
        return [market for market in self.markets if market.attributes.get(_SECRET, "")]


def exposure(context: Context) -> list[Finding]:
    """One finding: what opens restore points, or the keys to where they lie, to others than their owner."""
    known = _look(context)
    found = [*_by_rules(known), *_by_permissions(known), *_by_ids(known)]
    if not known.users:
        return [finding.ok(_NAME, "there are no users but admins")]
    if not found:
        return [finding.ok(_NAME, f"none of {len(known.users)} user(s) can read restore points of others")]
    text, fixes = "; ".join(text for text, _ in found), "; ".join(fix for _, fix in found)
    return [finding.problem(_NAME, text, f"{fixes} (docs/operations.md, Tenants)")]


def _look(context: Context) -> _Cloud:
    users = [acl.parse_user(item) for item in context.front_end.element("one.userpool.info").findall("USER")]
    apps = {item.app_id: item for item in cloud.apps(context)}
    points = trust.points(context, list(apps.values()))
    pool = context.front_end.element("one.marketpool.info").findall("MARKETPLACE")
    return _Cloud(
        [user for user in users if not user.is_admin],
        acl.parse_pool(context.front_end.element("one.acl.info")),
        [apps[number] for point in points for number in point.app_ids if number in apps],
        [app.parse_marketplace(item) for item in pool],
        [item.text or "" for item in context.front_end.element("one.system.config").findall("IMAGE_RESTRICTED_ATTR")],
    )


def _by_rules(known: _Cloud) -> Iterable[tuple[str, str]]:
    for rule in known.rules:
        users = [user for user in known.users if rule.is_about(user)]
        apps = [item for item in known.apps if rule.opens(acl.APP, item.element) and _others(item.element, users)]
        shown = [item for item in known.with_keys if _opens(rule, item) and users]
        what = [f"export restore points ({len(apps)} app(s))"] if apps else []
        what += [f"read {_SECRET} of marketplace {item.marketplace_id} ({item.name})" for item in shown]
        if what:
            text = f"rule {rule.rule_id} ({rule.text}) lets {len(users)} user(s) {' and '.join(what)}"
            yield text, "; ".join([*_instead(rule, known, bool(apps), shown), f"oneacl delete {rule.rule_id}"])


def _by_ids(known: _Cloud) -> Iterable[tuple[str, str]]:
    apps = [item for item in known.apps if item.kind == states.APP_TYPE_IMAGE and _others(item.element, known.users)]
    if apps and _FROM_APP not in (name.upper() for name in known.restricted):
        yield (
            f"whoever may make images can make one of any app by its id ({_FROM_APP}), also of {len(apps)} disk(s) of"
            " others' restore points: oned asks for no right to the app",
            f'add IMAGE_RESTRICTED_ATTR = "{_FROM_APP}" to oned.conf and restart oned: only admins export apps then',
        )


def _by_permissions(known: _Cloud) -> Iterable[tuple[str, str]]:
    open_ = [item.app_id for item in known.apps if _permitted(item.element, known.users)]
    if open_:
        named = ",".join(map(str, open_))
        shown = ", ".join(map(str, open_[:_SHOWN])) + (", …" if len(open_) > _SHOWN else "")
        yield f"permissions let others export app {shown}", f"onemarketapp chmod {named} {_OWNER_ONLY}"
    for item in known.with_keys:
        if item.element is not None and _permitted(item.element, known.users):
            number = item.marketplace_id
            yield (
                f"permissions let others read {_SECRET} of marketplace {number} ({item.name})",
                f"onemarket chmod {number} {_OWNER_ONLY}",
            )


def _instead(rule: Rule, known: _Cloud, apps: bool, shown: list[Marketplace]) -> list[str]:
    """What else the rule gives is given by rules of their own, before it goes."""
    who, resource, rights, zone = [*rule.text.split(), "", "", "", ""][:4]
    types, _, selector = resource.partition("/")
    dropped = {*(["MARKETPLACEAPP"] if apps else []), *(["MARKETPLACE"] if shown else [])}
    kept = [name for name in types.split("+") if name not in dropped]
    commands = [f"oneacl create '{who} {'+'.join(kept)}/{selector} {rights} {zone}'"] if kept else []
    for item in known.markets if shown else []:
        if item not in known.with_keys and _opens(rule, item):
            commands.append(f"oneacl create '{who} MARKETPLACE/#{item.marketplace_id} {rights}'")
    if shown:
        numbers = ", ".join(str(item.marketplace_id) for item in shown)
        commands.append(f"name the marketplaces for backups ({numbers}) in allowed_marketplaces of onebackup.yaml")
    return commands


def _opens(rule: Rule, market: Marketplace) -> bool:
    return market.element is not None and rule.opens(acl.MARKETPLACE, market.element)


def _others(element: etree._Element, users: list[User]) -> list[User]:
    owner = xml_values.number(element, "UID")
    return [user for user in users if user.uid != owner]


def _permitted(element: etree._Element, users: list[User]) -> bool:
    return any(acl.permits(element, user) for user in _others(element, users))
