# SPDX-License-Identifier: Apache-2.0
"""monitor: how full the repository is and, when wanted, every app that is in it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from onebackup_driver import plain, repositories, template_text
from onebackup_driver.market import listed, payload
from onebackup_driver.market.site import Site
from onebackup_driver.repository.repository import Repository
from onebackup_driver.units import MIB
from onebackup_driver.xml_values import Attribute

#: What is said to be free in a bucket without QUOTA_MB: 1 TiB, as OpenNebula's own s3 driver has it.
_ENDLESS_MB = 1024 * 1024


def answer(find_site: Callable[[], Site], request: payload.Request) -> str:
    """USED_MB, FREE_MB, TOTAL_MB; with PUBLISH_CATALOGUE="YES" the APP lines too. Raises Failed, Refused."""
    site = find_site()
    opened, settings = site.open(request)
    used, free = _numbers(opened, settings)
    lines: list[Attribute] = [("USED_MB", str(used)), ("FREE_MB", str(free)), ("TOTAL_MB", str(used + free))]
    text = template_text.render(lines) + "\n"
    if request.marketplace.attributes.get("PUBLISH_CATALOGUE", "").strip().upper() == "YES":
        text += "".join(f'APP="{line}"\n' for line in listed.lines(site.where, opened, site.rules.gateway))
    for warning in settings.warnings:
        print(plain.line(f"WARN: {warning}"), file=sys.stderr)
    return text


def _numbers(opened: Repository, settings: repositories.Settings) -> tuple[int, int]:
    """Used and free in MiB: of a directory's file system; of a bucket what the repository takes of its quota."""
    if settings.place.startswith("dir:"):
        usage = shutil.disk_usage(Path(settings.place[4:]))
        return (usage.total - usage.free) // MIB, usage.free // MIB
    used = opened.usage().used_mb
    quota = settings.options.get("QUOTA_MB")
    return used, max(0, int(quota) - used) if quota else _ENDLESS_MB
