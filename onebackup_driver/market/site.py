# SPDX-License-Identifier: Apache-2.0
"""What every action of the driver works with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onebackup_driver import paths, repositories
from onebackup_driver.market import payload
from onebackup_driver.repository.repository import Repository
from onebackup_driver.site_rules import Configuration


@dataclass(frozen=True)
class Site:
    """The site's rules, where state lies, and the path of the driver's script."""

    rules: Configuration
    where: paths.Paths
    script: str

    @property
    def downloader(self) -> Path:
        """OpenNebula's own downloader: <remotes>/datastore/downloader.sh beside <remotes>/market/onebackup/import."""
        return Path(self.script).parents[2] / "datastore" / "downloader.sh"

    def open(self, request: payload.Request) -> tuple[Repository, repositories.Settings]:
        """The repository of the request's marketplace, and let the gateway know it."""
        settings = repositories.of_marketplace(request.marketplace, self.rules.s3_credentials_file)
        opened = repositories.open(settings, self.where)
        repositories.remember(self.where, settings, opened)
        return opened, settings
