# SPDX-License-Identifier: Apache-2.0
"""What is known of a VM goes into the repository beside its disks.

oned starts no driver for VMTEMPLATE apps (opennebula.md 2.2). Without this a repository alone, after the database is
lost, would bring back disks and nobody would know of which VM.
"""

from __future__ import annotations

from typing import Any

from onebackup_driver import repositories, served
from onebackup_driver.context import Context
from onebackup_driver.manifest import SavedDisk
from onebackup_driver.xml_values import Vector


def keep(context: Context, disks: list[SavedDisk], tag: Vector, app_text: str) -> None:
    """Store the text of a VM's app in the repository its disks are in; nothing to do in other marketplaces.

    Raises StoreFailed and the like. Called before the app is made: an app that the repository does not know would be
    dropped by the next monitor that lists the catalogue.
    """
    places = {found[0] for disk in disks if (found := served.parse(disk.source)) is not None}
    for repository_id in places:
        settings = repositories.known(context.where, repository_id)
        if settings is None:
            context.log.warning(
                "Repository %s is not known on this front-end: the VM is described in OpenNebula only", repository_id
            )
            continue
        facts: dict[str, Any] = {"kind": served.VM, "run": tag["RUN"], "disks": len(disks), "text": app_text}
        repositories.open(settings, context.where).save([], 0, None, facts)
