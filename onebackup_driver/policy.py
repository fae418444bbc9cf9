# SPDX-License-Identifier: Apache-2.0
"""What shall happen to a VM: its BACKUP section, laid over the site's configuration.

The VM's owner writes the section: nothing in it is trusted further than the site allows (design.md section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from onebackup_driver import errors, window, xml_values
from onebackup_driver.app import Marketplace
from onebackup_driver.site_rules import MODES, Configuration
from onebackup_driver.xml_values import Vector

#: XML-RPC has no larger number.
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Policy:
    """`modes`: in the order of preference. `last_backup_time`: 0 when there was none. `window`: the VM's own, in which
    the timer may start its backup."""

    frequency_s: int
    marketplace_id: int
    last_backup_time: int
    modes: tuple[str, ...]
    excluded_disks: frozenset[int]
    window: window.Window = window.Window()


@dataclass(frozen=True)
class Due:
    """Whether a backup is due, and the reason in words."""

    due: bool
    reason: str
    at: int


def read(
    vm_id: int,
    section: Optional[Vector],
    site: Configuration,
    marketplace_id: Optional[int] = None,
    modes: str = "",
    oneshot: bool = False,
) -> Policy:
    """The policy of a VM. `marketplace_id` and `modes` come from the command line and win. Raises Refused.

    A oneshot needs no BACKUP section (OpenNebula 6.4 src/cli/onevm `--oneshot`).
    """
    if section is None and not oneshot:
        raise errors.Refused(
            f"VM {vm_id} has no BACKUP section in its template; add"
            f' BACKUP=[FREQUENCY_SECONDS="86400",MARKETPLACE_ID="..."] with: onevm update {vm_id}'
        )
    section = section or {}
    return Policy(
        frequency_s=0 if oneshot else _frequency(vm_id, section, site),
        marketplace_id=_required(vm_id, section, "MARKETPLACE_ID", "a marketplace id, see: onemarket list")
        if marketplace_id is None
        else marketplace_id,
        last_backup_time=max(0, xml_values.whole_number(section.get("LAST_BACKUP_TIME", "")) or 0),
        modes=_modes(vm_id, "--mode", modes) if modes else _own_modes(vm_id, section, site),
        excluded_disks=_excluded(vm_id, section),
        window=_window(vm_id, section, site),
    )


def due(policy: Policy, now: int) -> Due:
    """Is a backup due at `now` (seconds since the epoch)? A last backup in the future counts as none."""
    at = policy.last_backup_time + policy.frequency_s
    if policy.last_backup_time == 0:
        return Due(True, "it was never backed up", now)
    if policy.last_backup_time > now:
        return Due(True, "its LAST_BACKUP_TIME lies in the future", now)
    if at <= now:
        return Due(True, f"the last backup is {now - policy.last_backup_time} s old, FREQUENCY_SECONDS is over", at)
    return Due(False, "its last backup is younger than FREQUENCY_SECONDS", at)


def due_soon(policy: Policy, now: int, fraction: float) -> Due:
    """Is a backup due at `now`, or will it be within `fraction` of the VM's period?"""
    exactly = due(policy, now)
    if exactly.due or exactly.at - now > fraction * policy.frequency_s:
        return exactly
    return Due(True, f"it is due in {exactly.at - now} s", exactly.at)


def check_marketplace(marketplace: Marketplace, site: Configuration) -> None:
    """Raise Refused when backups may not go into this marketplace."""
    known = f"marketplace {marketplace.marketplace_id} ({marketplace.name})"
    if not marketplace.enabled:
        raise errors.Refused(f"{known} is disabled; enable it with: onemarket enable {marketplace.marketplace_id}")
    if marketplace.driver not in site.allowed_marketplace_types:
        raise errors.Refused(
            f"{known} is of the type {marketplace.driver!r}; backups go into"
            f" {', '.join(site.allowed_marketplace_types)} (allowed_marketplace_types in onebackup.yaml)"
        )
    if site.allowed_marketplaces and marketplace.marketplace_id not in site.allowed_marketplaces:
        raise errors.Refused(f"{known} is not in allowed_marketplaces of onebackup.yaml")


def _frequency(vm_id: int, section: Vector, site: Configuration) -> int:
    seconds = _required(vm_id, section, "FREQUENCY_SECONDS", "a number of seconds")
    if seconds <= 0:
        raise errors.Refused(f"BACKUP/FREQUENCY_SECONDS of VM {vm_id} is {seconds}; it must be above 0")
    return max(seconds, site.minimum_frequency_seconds)


def _required(vm_id: int, section: Vector, key: str, meaning: str) -> int:
    value = section.get(key, "").strip()
    if not value:
        raise errors.Refused(f"BACKUP of VM {vm_id} has no {key} ({meaning}); set it with: onevm update {vm_id}")
    number = xml_values.whole_number(value)
    if number is None or not 0 <= number <= _LARGEST:
        what = f"BACKUP/{key} of VM {vm_id} is {value[:60]!r}; it must be {meaning}"
        raise errors.Refused(f"{what}; correct it with: onevm update {vm_id}")
    return number


def _own_modes(vm_id: int, section: Vector, site: Configuration) -> tuple[str, ...]:
    if section.get("MODE", "").strip():
        return _modes(vm_id, "BACKUP/MODE", section["MODE"])
    return _modes(vm_id, "mode of onebackup.yaml", site.mode)


def _modes(vm_id: int, place: str, text: str) -> tuple[str, ...]:
    modes = tuple(item.strip().upper() for item in text.split(","))
    for mode in modes:
        if mode not in MODES:
            known = ", ".join(MODES)
            raise errors.Refused(f"{place} {mode[:40]!r} for VM {vm_id} is unknown; it is one or more of {known}")
    return modes


def _excluded(vm_id: int, section: Vector) -> frozenset[int]:
    text = section.get("EXCLUDE_DISKS", "").strip()
    numbers = [xml_values.whole_number(item) for item in text.split(",")] if text else []
    if any(number is None for number in numbers):
        raise errors.Refused(f"BACKUP/EXCLUDE_DISKS of VM {vm_id} is {text[:60]!r}; it must be disk ids like '2,3'")
    return frozenset(number for number in numbers if number is not None)


def _window(vm_id: int, section: Vector, site: Configuration) -> window.Window:
    try:
        return window.parse(section.get("WINDOW", ""), section.get("TIME_ZONE", "").strip() or site.time_zone)
    except window.Bad as error:
        raise errors.Refused(f"BACKUP of VM {vm_id} has a bad WINDOW or TIME_ZONE: {error}") from error
