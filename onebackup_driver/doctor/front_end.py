# SPDX-License-Identifier: Apache-2.0
"""The front-end: does it answer, may we act, do its clock and its version agree with us?"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Optional

from onebackup_driver import clock, errors, paths, recover, units, xml_values
from onebackup_driver.context import Context
from onebackup_driver.doctor import finding
from onebackup_driver.doctor.finding import Finding
from onebackup_driver.frontend import FrontEnd
from onebackup_driver.installation import locating

_ONEADMIN_GROUP = 0
_LARGEST_DIFFERENCE_S = 30
_CLOCK_TIMEOUT_S = 10


def answers(front_end: FrontEnd) -> tuple[Finding, str]:
    """Does the API answer, to this session, with a version we know? Also the version; empty when it does not answer."""
    name = "API"
    try:
        release = front_end.version()
        front_end.own_user_id()
    except errors.AuthenticationFailed as error:
        return finding.problem(name, str(error), "put the password of oneadmin into one_auth: oneuser passwd"), ""
    except errors.FrontEndError as error:
        return finding.problem(name, str(error), "systemctl status opennebula; echo $ONE_XMLRPC"), ""
    if not locating.OLDEST <= locating.number(release) < locating.TOO_NEW:
        text = f"{front_end.endpoint} is OpenNebula {release}; onebackup was made for 6.0 to 7.x"
        return finding.problem(name, text, "look for a newer onebackup"), release
    return finding.ok(name, f"{front_end.endpoint} answers, OpenNebula {release}"), release


def authorised(front_end: FrontEnd) -> Finding:
    """Is it a session that may act for all users?"""
    name, user = "session", front_end.element("one.user.info", -1)
    groups = {xml_values.number(user, "GID"), *(int(item.text or -1) for item in user.findall("GROUPS/ID"))}
    text = f"user {xml_values.text(user, 'NAME')}"
    if _ONEADMIN_GROUP not in groups:
        fix = "use the session of oneadmin: run as oneadmin, or set ONE_AUTH"
        return finding.problem(name, f"{text} is not in the group oneadmin", fix)
    return finding.ok(name, f"{text}, in the group oneadmin")


def same_time(front_end: FrontEnd) -> Finding:
    """Do both clocks agree? The front-end's is in the Date of its answers."""
    name, front_end_time = "clock", _time_of(front_end.endpoint)
    if front_end_time is None:
        return finding.skipped(name, f"{front_end.endpoint} does not tell its time")
    apart = abs(clock.now() - front_end_time)
    if apart > _LARGEST_DIFFERENCE_S:
        text = f"the front-end's clock and this one are {units.duration_in_words(apart)} apart"
        return finding.problem(name, text, "have both synchronised (timedatectl set-ntp true)")
    return finding.ok(name, f"the same as the front-end's, within {_LARGEST_DIFFERENCE_S} s")


def _time_of(endpoint: str) -> Optional[float]:
    import requests

    body = b'<?xml version="1.0"?><methodCall><methodName>system.listMethods</methodName></methodCall>'
    try:
        headers = {"Content-Type": "text/xml"}
        answer = requests.post(endpoint, body, headers=headers, timeout=_CLOCK_TIMEOUT_S)
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (requests.exceptions.RequestException, KeyError, TypeError, ValueError):
        return None


def session_file(where: paths.Paths) -> Optional[Finding]:
    """A session that everybody can read is a problem of its own; one that cannot be read shows itself soon enough."""
    try:
        mode = where.one_auth.stat().st_mode
    except OSError:
        return None
    if mode & 0o077:
        text = f"{where.one_auth} can be read by others than its owner (mode {mode & 0o777:o})"
        return finding.problem("session file", text, f"chmod 600 {where.one_auth}")
    return None


def leftovers(context: Context) -> Finding:
    """What runs that died have left."""
    name = "leftovers"
    found = [item for item in recover.everything(context, dry_run=True) if not item.untouched]
    if found:
        return finding.problem(name, "; ".join(item.message for item in found), "onebackup recover")
    return finding.ok(name, "none")
