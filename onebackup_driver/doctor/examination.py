# SPDX-License-Identifier: Apache-2.0
"""All prerequisites, one after the other; what cannot be looked at because of another problem is said to be so."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

from onebackup_driver import configuration, errors, frontend, logs, paths
from onebackup_driver.context import Context
from onebackup_driver.doctor import finding, front_end, gateway, hook_manager, machine, marketplaces, tenants, timer
from onebackup_driver.doctor.finding import Finding
from onebackup_driver.installation import locating, receipt
from onebackup_driver.installation.locating import Place
from onebackup_driver.installation.receipt import Receipt
from onebackup_driver.site_rules import Configuration

_CALL_TIMEOUT_S = 15.0


def everything(hook_timeout_s: float) -> Iterator[Finding]:
    """Look at each prerequisite; a finding is given as soon as it is known."""
    place, known = _installed()
    where, site, found = _configuration(place)
    yield machine.installation(place, known, where.configuration)
    yield found
    context, found, release = _connection(where, site)
    yield found
    unreadable = front_end.session_file(where)
    if unreadable is not None:
        yield unreadable
    yield from _at_the_front_end(context if release else None, place, hook_timeout_s)
    yield hook_manager.scripts(place)
    yield _guarded("timer", lambda: [timer.active(context if release else None, place, known, where.locks)])[0]
    yield machine.qemu_img()
    yield machine.limits()
    user = place.user.name if place is not None else str(os.geteuid())
    yield machine.state_directory(where.state, user)
    yield machine.versions(release)


def _installed() -> tuple[Optional[Place], Receipt]:
    try:
        place = locating.find()
        return place, receipt.load(place.real(place.home))
    except (errors.Error, OSError):
        return None, Receipt()


def _configuration(place: Optional[Place]) -> tuple[paths.Paths, Configuration, Finding]:
    """With a configuration that cannot be read the rest is looked at by the defaults."""
    where = paths.find(locating.environment(place))
    try:
        site = configuration.load(where.configuration)
    except errors.UsageError as error:
        wrong = finding.problem("configuration", str(error), f"edit {where.configuration}")
        return where, Configuration(), wrong
    if site.state_directory:
        where = paths.with_state(where, site.state_directory)
    there = str(where.configuration) if Path(where.configuration).exists() else "all defaults"
    return where, site, finding.ok("configuration", there)


def _connection(where: paths.Paths, site: Configuration) -> tuple[Optional[Context], Finding, str]:
    timeout_s = min(_CALL_TIMEOUT_S, site.timeouts.call_s)
    try:
        connected = frontend.connect(where, timeout_s, timeout_s)
    except errors.Refused as error:
        return None, finding.problem("API", str(error), "run as oneadmin, or set ONE_AUTH"), ""
    found, release = front_end.answers(connected)
    return Context(connected, site, where, logs.set_up(verbose=False)), found, release


def _at_the_front_end(context: Optional[Context], place: Optional[Place], hook_timeout_s: float) -> Iterator[Finding]:
    def call(name: str, look: Callable[[Context], list[Finding]]) -> list[Finding]:
        if context is None:
            return [finding.skipped(name, "the API does not answer")]
        known = context
        return _guarded(name, lambda: look(known))

    yield from call("session", lambda known: [front_end.authorised(known.front_end)])
    yield from call("clock", lambda known: [front_end.same_time(known.front_end)])
    yield from call("hooks", lambda known: [hook_manager.registered(known.front_end, place)])
    yield from call("hook manager", lambda known: [hook_manager.alive(known.front_end, hook_timeout_s)])
    yield from call("marketplaces", marketplaces.reachable)
    yield from call("tenants", tenants.exposure)
    yield from call("gateway", lambda known: gateway.answering(known, place))
    yield from call("leftovers", lambda known: [front_end.leftovers(known)])


def _guarded(name: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except (errors.Error, OSError) as error:
        return [finding.problem(name, str(error), "see the problems above, then: onebackup doctor")]
