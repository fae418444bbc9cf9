# SPDX-License-Identifier: Apache-2.0
"""Whose restore points may be restored with our rights: our own, and those of VM owners that carry our seal."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Optional

from onebackup_driver import catalogue, cloud, errors, files, seal, template_text
from onebackup_driver.app import App
from onebackup_driver.catalogue import RestorePoint
from onebackup_driver.context import Context


def points(context: Context, apps: list[App], vm_uid: int = -1) -> list[RestorePoint]:
    """The restore points that count, oldest first: ours, every one with a seal that fits, and those of the VM's owner
    `vm_uid` where the site gives them away; without a seal that fits these have a problem."""
    key, ours, trusted = _read(_place(context)), context.trusted_uids(), context.trusted_uids(vm_uid)
    sealed = {app.app_id: app.uid for app in apps if app.uid not in ours and _fits(key, app)}
    found = catalogue.build(apps, trusted | set(sealed.values()))
    counting = [item for item in found if item.vm_app.uid in trusted or item.backup_id in sealed]
    return [
        item if item.vm_app.uid in ours or item.backup_id in sealed else _doubted(context, item) for item in counting
    ]


def is_restorable(context: Context, vm_app: App) -> bool:
    """Whether nobody else can have written what a restore of this app would carry out."""
    return vm_app.uid in context.trusted_uids() or _fits(_read(_place(context)), vm_app)


def doubt(context: Context, vm_app: App) -> str:
    """Why an app of somebody else's is not restored with our rights, and what to do, in words."""
    sealed = "its seal does not fit: it was changed since, or sealed on another front-end (seal.key)"
    return (
        f"app {vm_app.app_id} belongs to user {vm_app.uid}, who could have made up what is in it, and"
        f" {sealed if vm_app.tags.get('SEAL') else 'it has no seal'}: restore it as that user, or look at it and take"
        f" it over with: onemarketapp chown {vm_app.app_id} {context.own_uid}"
    )


def _doubted(context: Context, point: RestorePoint) -> RestorePoint:
    return replace(point, problems=(*point.problems, doubt(context, point.vm_app)))


def _fits(key: Optional[bytes], vm_app: App) -> bool:
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
