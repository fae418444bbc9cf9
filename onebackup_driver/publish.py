# SPDX-License-Identifier: Apache-2.0
"""The saved images become a restore point: image apps, verified, and the VMTEMPLATE app last."""

from __future__ import annotations

from typing import Optional

from lxml import etree

from onebackup_driver import (
    app,
    catalogue,
    cloud,
    errors,
    kept_vm,
    manifest,
    names,
    restore_template,
    states,
    template_text,
    unpacking,
    verifying,
    waiting,
)
from onebackup_driver.context import Context
from onebackup_driver.vm import Disk, VirtualMachine
from onebackup_driver.xml_values import Vector


def image_apps(
    context: Context,
    marketplace: app.Marketplace,
    backup_name: str,
    version: str,
    tag: Vector,
    images: dict[int, etree._Element],
    disks: list[Disk],
) -> list[app.App]:
    """Begin the upload of every image; the apps, not yet READY."""
    apps = []
    for disk in disks:
        image, name = images[disk.disk_id], names.disk(backup_name, disk.disk_id)
        context.log.info("Adding disk with image %s", image.findtext("ID"))
        looks = unpacking.noticed(context, image, disk, marketplace)
        text = manifest.image_app(name, image, disk, version, {**tag, **looks})
        context.log.info("Importing image to market place")
        apps.append(_allocate(context, name, text, marketplace.marketplace_id, f"disk {disk.disk_id}"))
    return apps


def await_upload(context: Context, started: app.App, image: etree._Element, marketplace: app.Marketplace) -> app.App:
    """Wait until an app is READY and verify what was stored. Raises Failed."""
    disk_id = started.tags.get("DISK_ID", "?")
    what = f"the upload of app {started.app_id} (disk {disk_id}) into marketplace {started.marketplace_id}"

    def look() -> Optional[app.App]:
        try:
            now = cloud.one_app(context, started.app_id)
        except errors.NoSuchObject as error:
            raise errors.Failed(f"app {started.app_id} was deleted by somebody else during its upload") from error
        if now.state == states.APP_ERROR:
            reason = now.error_text or "the front-end gives no reason"
            raise errors.Failed(f"{what} failed: {reason}; more is in /var/log/one/oned.log")
        return now if now.state == states.APP_READY else None

    ready = waiting.until(look, context.timeouts.upload_s, f"{what} did not end", 2.0, "upload_s")
    verifying.stored(context, ready, image, marketplace)
    return ready


def vm_app(
    context: Context,
    marketplace_id: int,
    backup_name: str,
    version: str,
    tag: Vector,
    machine: VirtualMachine,
    saved: list[manifest.SavedDisk],
) -> app.App:
    """Make the VMTEMPLATE app, which makes the restore point complete, and see it READY."""
    stock = template_text.render(restore_template.stock_text(machine))
    text = manifest.vm_app(backup_name, stock, version, tag, saved, machine)
    kept_vm.keep(context, saved, tag, text)
    made = _allocate(context, backup_name, text, marketplace_id, "the VM")
    if made.state != states.APP_READY:
        raise errors.Failed(f"app {made.app_id} of the VM is {states.app(made.state)}: {made.error_text}")
    return made


def saved_disk(disk: Disk, ready: app.App) -> manifest.SavedDisk:
    """What the manifest says of one verified upload."""
    return manifest.SavedDisk(
        disk.disk_id, ready.app_id, ready.name, ready.size_mb, ready.md5, ready.format, ready.source
    )


def remove_apps(context: Context, run: str) -> None:
    """Delete every app of the run. One still LOCKED is waited for: deleted now, its data would stay for ever (B18)."""

    def look() -> Optional[bool]:
        found = catalogue.made_by(cloud.apps(context), run, {context.own_uid})
        for made in found:
            delete_app(context, made.app_id)
        return None if found else True

    waiting.until(look, context.timeouts.undo_s, f"the apps of run {run} could not be deleted")


def remove_point(context: Context, run: str, app_ids: list[int]) -> None:
    """Delete the apps of a restore point, the VMTEMPLATE app first; only those that say they are of this run."""

    def look() -> Optional[bool]:
        apps = cloud.apps(context)
        made = catalogue.made_by(apps, run, {item.uid for item in apps if item.app_id in app_ids})
        found = [item.app_id for item in made if item.app_id in app_ids]
        for app_id in found:
            delete_app(context, app_id)
        return None if found else True

    waiting.until(look, context.timeouts.undo_s, f"the apps {app_ids} could not be deleted")


def delete_app(context: Context, app_id: int) -> None:
    """Delete one app once its upload has ended. One that is gone already is fine. Raises Failed or CallRefused."""

    def look() -> Optional[bool]:
        try:
            if cloud.one_app(context, app_id).state == states.APP_LOCKED:
                return None
            context.log.info("Deleting appliance %s", app_id)
            context.front_end.repeat("one.marketapp.delete", app_id)
        except errors.NoSuchObject:
            pass
        return True

    waiting.until(look, context.timeouts.undo_s, f"the upload of app {app_id} did not end, so it could not be deleted")


def _allocate(context: Context, name: str, text: str, marketplace_id: int, what: str) -> app.App:
    try:
        app_id = cloud.create(context, "marketapp", name, "one.marketapp.allocate", text, marketplace_id)
        return cloud.one_app(context, app_id)
    except errors.NoSuchObject as error:
        raise errors.Failed(f"the app or image of {what} was deleted by somebody else: {error}") from error
    except errors.CallRefused as error:
        raise errors.Failed(f"marketplace {marketplace_id} does not take {what}: {error}") from error
