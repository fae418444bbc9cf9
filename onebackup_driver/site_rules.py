# SPDX-License-Identifier: Apache-2.0
"""The site's rules: every option of onebackup.yaml with its default (etc/onebackup.yaml says what each means)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Optional

#: How a running VM's disks can be saved (docs/attributes.md, MODE).
MODES = ("POWEROFF", "SUSPEND", "LIVE")


@dataclass(frozen=True)
class Timeouts:
    """Deadlines in seconds; `call` is one API call, `patience` how long an unreachable front-end is tried again."""

    call_s: float = 60
    patience_s: float = 60
    power_off_s: float = 300
    power_on_s: float = 300
    save_disk_s: float = 4 * 3600
    upload_s: float = 24 * 3600
    download_s: float = 24 * 3600
    boot_s: float = 3600
    undo_s: float = 600

    @property
    def undo_in_all_s(self) -> float:
        """How long a run that is ended may take to put everything back: a disk or an upload under way is waited for,
        the VM is started up to three times, the temporary template and the images are seen gone."""
        return 3 * (self.undo_s + self.power_on_s)


@dataclass(frozen=True)
class Limits:
    """How many backups the timer has under way at once. `per_owner` 0: see schedule.limits."""

    total: int = 4
    per_host: int = 2
    per_datastore: int = 2
    per_marketplace: int = 4
    per_owner: int = 0


@dataclass(frozen=True)
class Retry:
    """When the timer tries a VM again whose backup failed: the pause doubles with each failure, up to `longest`."""

    first_minutes: int = 15
    longest_minutes: int = 360


@dataclass(frozen=True)
class Gateway:
    """Where `onebackup gateway` listens, and what it puts up with. `url`: what SOURCE begins with, when clients come
    by another way than address and port say."""

    address: str = "127.0.0.1"
    port: int = 2690
    url: str = ""
    connections: int = 64
    stall_s: int = 60
    tls_certificate: str = ""
    tls_key: str = ""
    token_file: str = ""


@dataclass(frozen=True)
class Configuration:
    """The site's rules (see etc/onebackup.yaml for what each means)."""

    state_directory: str = ""
    allowed_marketplaces: list[int] = field(default_factory=list)
    allowed_marketplace_types: list[str] = field(default_factory=lambda: ["http", "s3", "onebackup"])
    minimum_frequency_seconds: int = 300
    mode: str = "POWEROFF"
    verify: str = "checksum"
    app_owner: str = "oneadmin"
    s3_credentials_file: str = ""
    timeouts: Timeouts = field(default_factory=Timeouts)
    limits: Limits = field(default_factory=Limits)
    window: str = ""
    time_zone: str = ""
    time_budget_minutes: int = 0
    jitter_minutes: int = 0
    retry: Retry = field(default_factory=Retry)
    stray_grace_hours: int = 24
    opportunistic_fraction: float = 0.25
    terminated_vms: str = "keep"
    native_backup_calls: str = "due"
    gateway: Gateway = field(default_factory=Gateway)


def terminated_rule(text: str) -> Optional[float]:
    """For how many days the restore points of a terminated VM are kept, by `terminated_vms`: `keep` (for ever:
    infinity), `keep N days` or `delete` (0); None for anything else."""
    words = text.split()
    if words in (["keep"], ["delete"]):
        return math.inf if words == ["keep"] else 0.0
    if len(words) == 3 and words[0] == "keep" and words[2] in ("day", "days") and words[1].isascii():
        return float(words[1]) if words[1].isdigit() and 0 < len(words[1]) < 6 and int(words[1]) else None
    return None
