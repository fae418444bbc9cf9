# SPDX-License-Identifier: Apache-2.0
"""What every story works with."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from onebackup_driver import paths
from onebackup_driver.site_rules import Configuration, Timeouts

if TYPE_CHECKING:  # who has a front-end has loaded it; a marketplace driver has none
    from onebackup_driver.frontend import FrontEnd


@dataclass
class Context:
    """The front-end, the site's rules, where state lies, and the log."""

    front_end: FrontEnd
    configuration: Configuration
    where: paths.Paths
    log: logging.Logger

    @property
    def timeouts(self) -> Timeouts:
        return self.configuration.timeouts

    @property
    def locks(self) -> Path:
        return self.where.locks

    @property
    def journals(self) -> Path:
        return self.where.journals

    @cached_property
    def own_uid(self) -> int:
        """The id of the user we act as."""
        return self.front_end.own_user_id()

    def trusted_uids(self, vm_uid: int = -1) -> set[int]:
        """Whose apps count as restore points: ours, oneadmin's, and the VM owner's where the site gives apps away."""
        trusted = {self.own_uid, 0}
        if self.configuration.app_owner == "vm_owner" and vm_uid >= 0:
            trusted.add(vm_uid)
        return trusted
