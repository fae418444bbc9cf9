# SPDX-License-Identifier: Apache-2.0
"""Whose restore points may be restored with our rights: our own, and those of VM owners that carry our seal."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Optional

from onebackup_driver import catalogue, cloud, errors, files, seal, template_text
from onebackup_driver.app import App
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.context import Context


def points(context: Context, apps: list[App], vm_uid: int = -1) -> list[RestorePoint]:
    """The restore points that count, oldest first: ours, those of the VM's owner `vm_uid` where the site gives them
    away, and every one with a seal that fits."""
    trusted = context.trusted_uids(vm_uid)
    sealed = {app.app_id: app.uid for app in apps if app.uid not in trusted and is_sealed(context, app)}
    found = catalogue.build(apps, trusted | set(sealed.values()))
    return [point for point in found if point.vm_app.uid in trusted or point.backup_id in sealed]


def is_restorable(context: Context, vm_app: App) -> bool:
    """Whether nobody else can have written what a restore of this app would carry out."""
    return vm_app.uid in context.trusted_uids() or is_sealed(context, vm_app)


def is_sealed(context: Context, vm_app: App) -> bool:
    """Whether it carries a seal of this front-end that fits."""
    if not vm_app.tags.get("SEAL"):
        return False
    key = _read(_place(context))
    return key is not None and seal.fits(key, vm_app.element)


def put_seal(context: Context, app_id: int) -> None:
    """Seal a VMTEMPLATE app of ours, before it is given away. Raises Failed, FrontEndError, OSError."""
    key = _key(_place(context))
    app = cloud.one_app(context, app_id)
    if app.uid not in context.trusted_uids():
        raise errors.Failed(f"app {app_id} belongs to user {app.uid} already: what is in it may not be ours")
    tags = {**app.tags, "SEAL": seal.make(key, app.element)}
    context.front_end.repeat("one.marketapp.update", app_id, template_text.render([("ONEBACKUP", tags)]), 1)


def _place(context: Context) -> Path:
    return context.where.state / "seal.key"


def _key(path: Path) -> bytes:
    found = _read(path)
    if found is None:
        files.make_private_directory(path.parent)
        files.write_new(path, secrets.token_hex(seal.KEY_BYTES).encode())
        found = _read(path)
    if found is None:
        raise OSError(0, f"{path} is no key for seals; remove it, or bring back the one that was there")
    return found


def _read(path: Path) -> Optional[bytes]:
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None
    return key if len(key) == seal.KEY_BYTES else None
