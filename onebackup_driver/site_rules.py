# SPDX-License-Identifier: Apache-2.0
"""The site's rules: every option of onebackup.yaml with its default (etc/onebackup.yaml says what each means)."""

from __future__ import annotations

from dataclasses import dataclass, field


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
    timeouts: Timeouts = field(default_factory=Timeouts)
