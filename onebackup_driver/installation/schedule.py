# SPDX-License-Identifier: Apache-2.0
"""What starts `backup_vms` again and again: a systemd timer where systemd runs, else cron."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from onebackup_driver import commands, errors
from onebackup_driver.installation import placing
from onebackup_driver.installation.locating import Place
from onebackup_driver.installation.placing import Item

SYSTEMD, CRON, NONE = "systemd", "cron", ""
TIMER = "onebackup.timer"
UNITS = Path("/etc/systemd/system")
CRON_FILE = Path("/etc/cron.d/onebackup")


def choose(place: Place) -> str:
    """systemd or cron; nothing for who may write neither (then `advice` has a line for a crontab of one's own)."""
    folders = {SYSTEMD: UNITS, CRON: CRON_FILE.parent}
    signs = {SYSTEMD: Path("/run/systemd/system"), CRON: CRON_FILE.parent}
    for kind, folder in folders.items():
        if place.real(signs[kind]).is_dir():
            return kind if _writable(place.real(folder)) else NONE
    return NONE


def items(place: Place, source: Path, kind: str) -> Iterator[Item]:
    """The files of a kind of schedule, made for this front-end."""
    if kind == SYSTEMD:
        for path in sorted((source / "share" / "systemd").glob("onebackup.*")):
            yield unit(place, path)
    elif kind == CRON:
        for path in sorted((source / "share" / "cron").glob("onebackup*")):
            yield Item(CRON_FILE, _cron(place, path.read_text(encoding="utf-8")).encode(), 0o644, kind=placing.SCHEDULE)


def unit(place: Place, path: Path) -> Item:
    """A systemd unit of our tree, made for this front-end."""
    return Item(UNITS / path.name, _unit(place, path.read_text(encoding="utf-8")).encode(), 0o644)


def start(place: Place, kind: str) -> str:
    """Have a systemd timer that was just installed run, now and after each boot; what to do by hand, if anything."""
    if kind != SYSTEMD:
        return ""
    if place.root:
        return f"in the installed system: systemctl enable --now {TIMER}"
    for argv in (["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", TIMER]):
        systemctl(argv)
    return ""


def stop(place: Place, kind: str) -> None:
    """The other way round, before the units are removed."""
    if kind == SYSTEMD and not place.root:
        systemctl(["systemctl", "disable", "--now", TIMER])


def reload(place: Place, kind: str) -> None:
    """Tell systemd that units have come or gone."""
    if kind == SYSTEMD and not place.root:
        systemctl(["systemctl", "daemon-reload"])


def advice(place: Place) -> str:
    """The line for a crontab of one's own."""
    variable = f"ONE_LOCATION={place.location} " if place.location else ""
    return f"*/15 * * * * {variable}{place.share / 'backup_vms'}"


def systemctl(argv: list[str]) -> None:
    """Run it. Raises Failed."""
    result = commands.run(argv, timeout_s=60)
    if result.code:
        raise errors.Failed(f"{' '.join(argv)} failed: {result.last_words}")


def _writable(folder: Path) -> bool:
    return os.access(next(path for path in (folder, *folder.parents) if path.is_dir()), os.W_OK)


def _for_place(place: Place, text: str) -> str:
    places = {
        "/usr/share/one": place.share,
        "/var/lib/one": place.var,
        "/etc/one": place.etc,
        "/usr/local/bin": place.programs,
    }
    for stock, here in places.items():
        text = text.replace(stock, str(here))
    return text


def _unit(place: Place, text: str) -> str:
    text = _for_place(place, text)
    for key, value in (("User", place.user.name), ("Group", str(place.user.gid))):
        text = text.replace(f"{key}=oneadmin", f"{key}={value}")
    if place.location:
        text = text.replace("[Service]\n", f"[Service]\nEnvironment=ONE_LOCATION={place.location}\n")
    return text


def _cron(place: Place, text: str) -> str:
    text = _for_place(place, text).replace(" oneadmin ", f" {place.user.name} ")
    return f"ONE_LOCATION={place.location}\n{text}" if place.location else text
