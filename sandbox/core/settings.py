# SPDX-License-Identifier: Apache-2.0
"""How one emulated front-end was started, and how long its actions take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SECONDS = {
    "poweroff": 0.2, "boot": 0.2, "resume": 0.2, "prolog": 0.1, "epilog": 0.1, "saveas": 0.2, "suspend": 0.2,
    "stop": 0.2, "undeploy": 0.2, "shutdown": 0.15, "snapshot": 0.1, "hotplug": 0.1, "schedule": 0.15,
    "import": 0.2, "download": 0.2, "market_monitor": 5.0, "delete": 0.05, "vnet": 0.03,
    "reboot": 0.3, "migrate": 0.2, "disk_resize": 0.1,
}
# What real guests take longer than dummy ones.
KVM_SECONDS = {"poweroff": 0.8, "shutdown": 0.8, "undeploy": 0.8, "boot": 1.3, "resume": 1.3, "saveas": 0.3}
RELEASES = {"6.4": "6.4.0", "7.4": "7.4.0"}


@dataclass(frozen=True)
class Settings:
    """`speed` divides every emulated duration (2.0 = twice as fast)."""

    version: str
    state: Path
    remotes: Path
    port: int = 0
    speed: float = 1.0

    @property
    def release(self) -> str:
        return RELEASES[self.version]

    @property
    def modern(self) -> bool:
        """7.x behaviour (two personalities only: 6.4 and 7.4)."""
        return self.version == "7.4"

    def seconds(self, what: str, host: str = "") -> float:
        """How long `what` takes; `host` is the host's VM_MAD where that matters."""
        extra = KVM_SECONDS.get(what, 0.0) if host == "kvm" else 0.0
        return (SECONDS[what] + extra) / self.speed
