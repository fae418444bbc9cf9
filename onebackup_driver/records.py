# SPDX-License-Identifier: Apache-2.0
"""The attributes users see on a VM: BACKUP and ONEBACKUP (a public interface, docs/attributes.md)."""

from __future__ import annotations

from typing import Optional

from onebackup_driver import template_text
from onebackup_driver.xml_values import Vector

RUNNING, OK, ERROR = "RUNNING", "OK", "ERROR"


def backup_section(section: Optional[Vector], app_ids: list[int], ended: int, marketplace_id: int) -> str:
    """BACKUP after a good backup. one.vm.update replaces a vector whole, so the user's own keys are written back."""
    ours = {"LAST_BACKUP_TIME": str(ended), "MARKETPLACE_APP_IDS": ",".join(map(str, app_ids))}
    users = {key: value for key, value in (section or {}).items() if key not in ours}
    users.setdefault("MARKETPLACE_ID", str(marketplace_id))
    return template_text.render([("BACKUP", {**users, **ours})])


def without_action(section: Vector) -> Vector:
    """BACKUP once its ACTION was taken; every other key stays."""
    return {key: value for key, value in section.items() if key.upper() != "ACTION"}


def status(state: str, message: str, when: int, **more: str) -> str:
    """ONEBACKUP: where a backup stands, in words a tenant understands; `more` e.g. PROGRESS, RUN, RESTORE_POINT."""
    values = {"STATE": state, "MESSAGE": message, "TIME": str(when), **more}
    return template_text.render([("ONEBACKUP", {key: template_text.one_line(value) for key, value in values.items()})])
