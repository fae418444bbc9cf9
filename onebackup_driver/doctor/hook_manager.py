# SPDX-License-Identifier: Apache-2.0
"""Hooks: registered, their scripts working, and the hook manager alive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from lxml import etree

from onebackup_driver import clock, commands, errors, template_text, units, xml_values
from onebackup_driver.doctor import finding
from onebackup_driver.doctor.finding import Finding
from onebackup_driver.frontend import FrontEnd
from onebackup_driver.installation import registering
from onebackup_driver.installation.locating import Place

#: Not `onebackup_`: a hook of that name without a template would be taken for an old one of ours.
_PROBE = "onebackup-doctor-"
#: A probe of a doctor that was killed; a live one does not take so long.
_STALE_S = 300
_AGAIN_S = 1.0
_POLL_S = 0.1
_SCRIPT_TIMEOUT_S = 30


def registered(front_end: FrontEnd, place: Optional[Place]) -> Finding:
    """Are our hooks there, as their templates say?"""
    name = "hooks"
    if place is None or not place.real(place.hook_templates).is_dir():
        return finding.skipped(name, "onebackup is not installed")
    wrong = registering.wrong(front_end, place.real(place.hook_templates))
    if wrong:
        text = ", ".join(f"{change.name} is {change.what}" for change in wrong)
        return finding.problem(name, text, "sudo ./install.sh")
    return finding.ok(name, "registered as their templates say")


def scripts(place: Optional[Place]) -> Finding:
    """Can each script be started, and its interpreter load what it needs?"""
    name = "hook scripts"
    folder = None if place is None else place.real(place.hook_base) / "onebackup"
    found = sorted(folder.glob("vm_*")) if folder is not None else []
    if not found:
        where = f" in {folder} (:hook_base_path: of onehem-server.conf)" if folder is not None else ""
        return finding.problem(name, f"there are none{where}", "sudo ./install.sh")
    tried: set[str] = set()
    for script in found:
        reason = _unusable(script, tried)
        if reason:
            return finding.problem(name, f"{script} {reason}", "sudo ./install.sh")
    return finding.ok(name, f"{len(found)} in {folder}")


def _unusable(script: Path, tried: set[str]) -> str:
    """Why it would not work; each interpreter line is tried once."""
    if not os.access(script, os.X_OK):
        return "is not executable"
    with open(script, "rb") as stream:
        line = stream.readline(200)[2:].decode("utf-8", "replace")
    words = line.split()
    if line in tried or not words or words[0] == "/bin/sh":
        return "" if words else "names no interpreter"
    tried.add(line)
    try:
        result = commands.run([*words, "-c", "import onebackup_driver.hooks.main"], _SCRIPT_TIMEOUT_S)
    except errors.Failed as error:
        return f"does not start: {error}"
    return f"does not start: {result.last_words}" if result.code else ""


def alive(front_end: FrontEnd, timeout_s: float) -> Finding:
    """Does a hook run when it should? A hook of our own on a call that nearly nobody makes, which runs /bin/true, is
    registered, set off, looked for in the hook log, and removed."""
    name = "hook manager"
    _remove_stale(front_end)
    began = clock.monotonic()
    try:
        record = _round_trip(front_end, timeout_s)
    except errors.FrontEndError as error:
        return finding.problem(name, str(error), "systemctl status opennebula-hem")
    if record is None:
        text = f"a hook event was not answered within {timeout_s:g} s"
        return finding.problem(name, text, "systemctl restart opennebula-hem; see onehem.log")
    code = xml_values.number(record, "EXECUTION_RESULT/CODE")
    if code != 0:
        return finding.problem(name, f"it ran /bin/true, which ended with {code}", "see onehem.log")
    return finding.ok(name, f"answered a hook event within {units.duration_in_words(clock.monotonic() - began)}")


def _round_trip(front_end: FrontEnd, timeout_s: float) -> Optional[etree._Element]:
    probe = f"{_PROBE}{clock.now()}-{os.getpid()}"
    attributes = {"NAME": probe, "TYPE": "api", "CALL": "one.hook.rename", "COMMAND": "/bin/true", "ARGUMENTS": ""}
    hook_id = int(front_end.call("one.hook.allocate", template_text.render(list(attributes.items()))))
    try:
        return _answer(front_end, hook_id, probe, timeout_s)
    finally:
        front_end.repeat("one.hook.delete", hook_id)


def _answer(front_end: FrontEnd, hook_id: int, probe: str, timeout_s: float) -> Optional[etree._Element]:
    """The execution in the hook log. The event is sent again: the hook manager takes a moment to listen to a new one,
    and what is sent before is lost."""
    deadline, again, turn = clock.monotonic() + timeout_s, 0.0, 0
    while clock.monotonic() < deadline:
        if clock.monotonic() >= again:
            turn += 1
            front_end.repeat("one.hook.rename", hook_id, f"{probe}-{turn}")
            again = clock.monotonic() + _AGAIN_S
        log = front_end.element("one.hooklog.info", 0, 0, hook_id, 0)
        record = log.find("HOOK_EXECUTION_RECORD")
        if record is not None:
            return record
        clock.sleep(_POLL_S)
    return None


def _remove_stale(front_end: FrontEnd) -> None:
    for item in front_end.element("one.hookpool.info", -2, -1, -1).findall("HOOK"):
        name = xml_values.text(item, "NAME")
        made = xml_values.whole_number(name[len(_PROBE) :].split("-")[0]) if name.startswith(_PROBE) else None
        if made is not None and made < clock.now() - _STALE_S:
            front_end.repeat("one.hook.delete", xml_values.number(item, "ID"))
