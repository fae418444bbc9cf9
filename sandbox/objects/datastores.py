# SPDX-License-Identifier: Apache-2.0
"""Datastores: their drivers' attributes, real paths and real capacity."""

from __future__ import annotations

import shutil
from typing import Optional

from sandbox.core import errors, names, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.objects import generic, infrastructure

IMAGE, SYSTEM, FILE, BACKUP = 0, 1, 2, 3
TYPES = {"IMAGE_DS": IMAGE, "SYSTEM_DS": SYSTEM, "FILE_DS": FILE, "BACKUP_DS": BACKUP}
READY, DISABLED = 0, 1
SSH = {"CLONE_TARGET_SSH": "SYSTEM", "DISK_TYPE_SSH": "FILE", "LN_TARGET_SSH": "SYSTEM", "TM_MAD_SYSTEM": "ssh"}
TM: dict[str, dict[str, str]] = {
    "qcow2": {"CLONE_TARGET": "SYSTEM", "LN_TARGET": "NONE", "DRIVER": "qcow2", **SSH},
    "shared": {"CLONE_TARGET": "SYSTEM", "LN_TARGET": "NONE", **SSH},
    "ssh": {"CLONE_TARGET": "SYSTEM", "LN_TARGET": "SYSTEM"},
    "local": {"CLONE_TARGET": "SYSTEM", "LN_TARGET": "SYSTEM"},
}


def make(front: Front, caller: Caller, name: str, template: Template, cluster: int = 0) -> Record:
    """A datastore with what oned adds to its template from the transfer driver's configuration."""
    kind = TYPES[template.get("TYPE", "IMAGE_DS")]
    tm_mad = template.get("TM_MAD", "-")
    record = infrastructure.owned(front, caller, "datastore", name, template, {})
    base = front.settings.state / "datastores" / str(record.id)
    base.mkdir(parents=True, exist_ok=True)
    record.rights = [1, 1, 0, 1, 0, 0, 0, 0, 0]
    record.fields = {"ds_mad": template.get("DS_MAD", "-"), "tm_mad": tm_mad, "base_path": str(base), "type": kind,
                     "disk_type": 0, "state": READY, "clusters": [cluster], "images": []}
    record["tm_mad"] = tm_mad if kind != BACKUP else "-"
    for key, value in _additions(front, kind, tm_mad).items():
        if not template.has(key):
            template.add(key, value)
    measure(front, record)
    return record


def _additions(front: Front, kind: int, tm_mad: str) -> dict[str, str]:
    values = {"RESTRICTED_DIRS": "/", "SAFE_DIRS": "/var/tmp"}
    if kind == BACKUP:
        return values
    values["ALLOW_ORPHANS"] = "YES" if tm_mad == "ssh" else "FORMAT"
    if front.settings.modern:
        values["PERSISTENT_SNAPSHOTS"] = "YES"
    if kind == SYSTEM:
        values.update({"DISK_TYPE": "FILE", "DS_MIGRATE": "YES", "SHARED": "YES" if tm_mad != "ssh" else "NO"})
        if front.settings.modern:
            values.update({"DS_LIVE_MIGRATE": "YES", "DS_MIGRATE_SNAP": "YES"})
        return values
    values.update(TM.get(tm_mad, TM["local"]))
    if kind == IMAGE:
        values["DISK_TYPE"] = "FILE"
    return values


def measure(front: Front, record: Record) -> None:
    """Capacity as the file system has it, unless LIMIT_MB is set."""
    usage = shutil.disk_usage(record["base_path"])
    record["total_mb"] = usage.total >> 20
    record["free_mb"] = usage.free >> 20
    record["used_mb"] = usage.used >> 20
    limit = record.template.number("LIMIT_MB", 0)
    if limit:
        record["free_mb"] = max(0, min(record["free_mb"], limit - _stored_mb(front, record)))
        record["total_mb"] = limit


def _stored_mb(front: Front, record: Record) -> int:
    return sum(image["size"] for image in (front.find("image", number) for number in record["images"]) if image)


def available_mb(front: Front, record: Record) -> Optional[int]:
    """Free space that new images are checked against; None when the check is off."""
    if record.template.get("DATASTORE_CAPACITY_CHECK", "YES").upper() == "NO":
        return None
    measure(front, record)
    return int(record["free_mb"])


def driver_of(record: Record) -> str:
    """The format a datastore forces on its images ("" = as they come)."""
    return record.template.get("DRIVER")


@method("one.datastore.allocate", "s|i")
def allocate(front: Front, caller: Caller, text: str, cluster: int = -1) -> int:
    template = generic.parsed(text)
    rights.require_create(caller, "datastore")
    if cluster != -1:
        front.get("cluster", cluster)
    name = template.take("NAME")
    problem = front.check_name("datastore", name, -1)
    if problem is None and template.get("TYPE", "IMAGE_DS") not in TYPES:
        problem = "Unknown datastore type."
    if problem is None and not template.get("TM_MAD") and template.get("TYPE") != "BACKUP_DS":
        problem = "No TM_MAD in template."
    if problem:
        raise names.allocation_error("datastore", problem, front.settings.modern)
    if not template.has("TYPE"):
        template.set("TYPE", "IMAGE_DS")
    return make(front, caller, name, template, max(cluster, 0)).id


@method("one.datastore.delete", "i")
def delete(front: Front, caller: Caller, datastore_id: int) -> int:
    record = front.get("datastore", datastore_id)
    rights.require(caller, rights.ADMIN, record)
    if record["images"]:
        raise errors.action(f"Cannot delete datastore. Datastore {datastore_id} is not empty.")
    front.drop(record)
    return datastore_id


@method("one.datastore.enable", "ib")
def enable(front: Front, caller: Caller, datastore_id: int, on: bool) -> int:
    record = front.get("datastore", datastore_id)
    rights.require(caller, rights.MANAGE, record)
    if record["type"] != SYSTEM:
        raise errors.internal("Can not disable datastore: Only SYSTEM_DS can be disabled" if not on else
                              "Can not enable datastore: Only SYSTEM_DS can be enabled")
    record["state"] = READY if on else DISABLED
    front.save(record)
    return datastore_id
