# SPDX-License-Identifier: Apache-2.0
"""`onebackup gateway` as a service: wherever oned knows our marketplace driver, and systemd runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onebackup_driver
from onebackup_driver import commands, errors
from onebackup_driver.installation import schedule
from onebackup_driver.installation.locating import Place
from onebackup_driver.installation.placing import Item

NAME = "onebackup-gateway"
UNIT = f"{NAME}.service"


def items(place: Place, source: Path) -> list[Item]:
    """Its unit; none where no systemd runs, or we may not give it units."""
    path = source / "share" / "systemd" / UNIT
    if schedule.choose(place) != schedule.SYSTEMD or not path.is_file():
        return []
    return [schedule.unit(place, path)]


def start(place: Place) -> list[str]:
    """Have it run, now and after each boot; what was done, in lines. Raises Failed."""
    if schedule.choose(place) != schedule.SYSTEMD:
        return [f"the gateway has to run, or nothing can be restored: {by_hand(place)}"]
    if place.root:
        return [f"in the installed system: systemctl enable --now {NAME}"]
    for argv in (["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", NAME]):
        schedule.systemctl(argv)
    return [f"started {NAME}, now and at each boot: it serves what is in onebackup's marketplaces to OpenNebula"]


def restart(place: Place) -> list[str]:
    """Have the one that runs be of this release. Raises Failed."""
    if place.root or schedule.choose(place) != schedule.SYSTEMD:
        return []
    for argv in (["systemctl", "daemon-reload"], ["systemctl", "try-restart", NAME]):
        schedule.systemctl(argv)
    return [f"restarted {NAME}, if it was running"]


def stop(place: Place) -> list[str]:
    """The other way round. That it cannot be stopped hinders nothing: its unit goes."""
    if place.root:
        return []
    try:
        result = commands.run(["systemctl", "disable", "--now", NAME], timeout_s=60)
        return [] if result.code == 0 else [f"{NAME} was not stopped: {result.last_words}"]
    except errors.Failed as error:
        return [f"{NAME} was not stopped: {error}"]


def by_hand(place: Place) -> str:
    """What to do where no systemd starts it."""
    variable = f"ONE_LOCATION={place.location} " if place.location else ""
    command = f"{variable}{place.programs / 'onebackup'} gateway"
    return f"{command} (as {place.user.name}; for each boot, in its crontab: @reboot {command})"


def fingerprint(source: Path) -> str:
    """Changes with the package's code and with the unit."""
    unit = source / "share" / "systemd" / UNIT
    digest = hashlib.sha256(unit.read_bytes() if unit.is_file() else b"")
    folder = Path(onebackup_driver.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
