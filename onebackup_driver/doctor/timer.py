# SPDX-License-Identifier: Apache-2.0
"""Is something there that starts `backup_vms`, and when did it last do so?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Optional

from onebackup_driver import clock, commands, errors, leader, units
from onebackup_driver.context import Context
from onebackup_driver.doctor import finding
from onebackup_driver.doctor.finding import Finding
from onebackup_driver.installation import receipt, schedule
from onebackup_driver.installation.locating import Place
from onebackup_driver.installation.receipt import Receipt

_NAME = "timer"
#: Longer than any reasonable pause between two runs of the timer.
_LATE_S = 26 * 3600
_CRON_PROCESSES = ("cron", "crond", "fcron", "systemd-cron")
_COMMAND_TIMEOUT_S = 20
_OURS = ("backup_vms", "onebackup run")


def active(context: Optional[Context], place: Optional[Place], known: Receipt, locks: Path) -> Finding:
    """Is the schedule active, and did it start a run lately? Only the leader of an HA cluster is asked for runs."""
    if place is None or not known.files:
        return finding.skipped(_NAME, "onebackup is not installed")
    wrong = _inactive(place, known.schedule)
    if wrong is not None:
        return wrong
    what = {schedule.SYSTEMD: f"systemd, {schedule.TIMER}", schedule.CRON: f"cron, {schedule.CRON_FILE}"}
    text = what.get(known.schedule, "a crontab")
    other = _other_leader(context)
    if other:
        return finding.ok(_NAME, f"{text}; {other}")
    last = _last_run(locks)
    since = last or (place.real(place.home) / receipt.NAME).stat().st_mtime
    text += f", last run {units.local_time(last)}" if last else ", has not run yet"
    if clock.now() - since > _LATE_S:
        return finding.problem(_NAME, text, "start one by hand and see: onebackup run -v")
    return finding.ok(_NAME, text)


def _inactive(place: Place, kind: str) -> Optional[Finding]:
    if kind == schedule.SYSTEMD:
        return _inactive_unit(place)
    if kind == schedule.CRON:
        if not place.real(schedule.CRON_FILE).is_file():
            return finding.problem(_NAME, f"{schedule.CRON_FILE} is missing", "sudo ./install.sh")
        if not place.root and not _cron_runs():
            return finding.problem(_NAME, "there is a cron file, but no cron is running", "systemctl enable --now cron")
        return None
    if any(words in _crontab() for words in _OURS):
        return None
    line = schedule.advice(place)
    return finding.problem(_NAME, "nothing starts backups", f"crontab -e, as {place.user.name}, and add: {line}")


def _inactive_unit(place: Place) -> Optional[Finding]:
    if place.root:
        return None
    result = commands.run(["systemctl", "is-active", schedule.TIMER], _COMMAND_TIMEOUT_S)
    if result.code == 0:
        return None
    state = result.output.decode("utf-8", "replace").strip() or "not there"
    return finding.problem(_NAME, f"{schedule.TIMER} is {state}", f"systemctl enable --now {schedule.TIMER}")


def _crontab() -> str:
    """The lines of this user's crontab that are not comments."""
    if shutil.which("crontab") is None:
        return ""
    try:
        text = commands.run(["crontab", "-l"], _COMMAND_TIMEOUT_S).output.decode("utf-8", "replace")
    except errors.Failed:
        return ""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _cron_runs() -> bool:
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text(encoding="utf-8", errors="replace").strip() in _CRON_PROCESSES:
                return True
        except OSError:
            continue  # it has just ended
    return False


def _other_leader(context: Optional[Context]) -> str:
    try:
        return leader.obstacle(context) if context is not None else ""
    except errors.Error as error:
        return str(error)


def _last_run(locks: Path) -> int:
    """When the newest run began: each signs the lock that makes it the only one."""
    try:
        return int(json.loads((locks / "timer.lock").read_text(encoding="utf-8"))["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
