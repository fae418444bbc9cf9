# SPDX-License-Identifier: Apache-2.0
"""The XML of every kind but the VM, element by element as the recorded front-ends print it."""

from __future__ import annotations

from types import ModuleType
from typing import Callable

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.core.xml_text import cdata, ids, tag
from sandbox.objects import hosts_xml, vm_xml, vnets_xml

QUOTAS = "".join(f"<{name}_QUOTA></{name}_QUOTA>" for name in ("DATASTORE", "NETWORK", "VM", "IMAGE"))


def image(front: Front, record: Record) -> str:
    fields = record.fields
    parts = [record.owner_xml(), tag("NAME", record.name), record.lock_xml(), record.rights_xml()]
    parts += [tag(key.upper(), fields[key]) for key in ("type", "disk_type", "persistent", "regtime")]
    if front.settings.modern:
        parts.append(tag("MODTIME", fields["modtime"]))
    parts += [cdata(key.upper(), fields[key]) for key in ("source", "path", "format", "fs")]
    keys = ("size", "state", "prev_state", "running_vms", "cloning_ops", "cloning_id", "target_snapshot",
            "datastore_id", "datastore")
    parts += [tag(key.upper(), fields[key]) for key in keys]
    parts += [ids("VMS", fields["vms"]), ids("CLONES", fields["clones"]), ids("APP_CLONES", fields["app_clones"])]
    parts += [record.template.xml(), snapshots_xml(fields["snapshots"])]
    if front.settings.modern:
        parts.append("<BACKUP_INCREMENTS></BACKUP_INCREMENTS><BACKUP_DISK_IDS></BACKUP_DISK_IDS>")
    return tag("IMAGE", "".join(parts))


def snapshots_xml(snapshots: dict[str, object]) -> str:
    return vm_xml.snapshots(snapshots, None)


def template(front: Front, record: Record) -> str:
    head = record.owner_xml() + tag("NAME", record.name) + record.lock_xml() + record.rights_xml()
    return tag("VMTEMPLATE", head + tag("REGTIME", record["regtime"]) + record.template.xml())


def document(front: Front, record: Record) -> str:
    head = record.owner_xml() + tag("NAME", record.name) + tag("TYPE", record["type"])
    return tag("DOCUMENT", head + record.rights_xml() + record.lock_xml() + record.template.xml())


def marketapp(front: Front, record: Record) -> str:
    fields = record.fields
    parts = [record.owner_xml(), record.lock_xml(), tag("REGTIME", fields["regtime"]), tag("NAME", record.name)]
    parts += [cdata(key.upper(), str(fields[key])) for key in ("zone_id", "origin_id", "source", "md5")]
    parts.append(tag("SIZE", fields["size"]))
    parts += [cdata(key.upper(), fields[key]) for key in ("description", "version", "format", "apptemplate64")]
    parts += [tag(key.upper(), fields[key]) for key in ("marketplace_id", "marketplace", "state", "type")]
    return tag("MARKETPLACEAPP", "".join(parts) + record.rights_xml() + record.template.xml())


def market(front: Front, record: Record) -> str:
    fields = record.fields
    parts = [record.owner_xml(), tag("NAME", record.name), tag("STATE", fields["state"])]
    parts += [cdata("MARKET_MAD", fields["market_mad"]), cdata("ZONE_ID", "0")]
    parts += [tag(key.upper(), fields[key]) for key in ("total_mb", "free_mb", "used_mb")]
    return tag("MARKETPLACE", "".join(parts) + ids("MARKETPLACEAPPS", fields["apps"]) + record.rights_xml()
               + record.template.xml())


def datastore(front: Front, record: Record) -> str:
    fields = record.fields
    parts = [record.owner_xml(), tag("NAME", record.name), record.rights_xml()]
    parts += [cdata(key.upper(), fields[key]) for key in ("ds_mad", "tm_mad", "base_path")]
    parts += [tag(key.upper(), fields[key]) for key in ("type", "disk_type", "state")]
    parts.append(ids("CLUSTERS", fields["clusters"]))
    parts += [tag(key.upper(), fields[key]) for key in ("total_mb", "free_mb", "used_mb")]
    return tag("DATASTORE", "".join(parts) + ids("IMAGES", fields["images"]) + record.template.xml())


def quota_calls() -> ModuleType:
    """The module of quotas, which needs this one to be loaded first."""
    from sandbox.objects import quotas

    return quotas


def user(front: Front, record: Record) -> str:
    quotas = quota_calls().xml(front, record) + tag("DEFAULT_USER_QUOTAS", QUOTAS)
    return tag("USER", user_body(record) + quotas)


def user_body(record: Record) -> str:
    fields = record.fields
    parts = [tag("ID", record.id), tag("GID", fields["gid"]), ids("GROUPS", [fields["gid"], *fields["groups"]])]
    parts += [tag("GNAME", record.gname), tag("NAME", record.name), cdata("PASSWORD", fields["password"])]
    parts += [cdata("AUTH_DRIVER", fields["driver"]), tag("ENABLED", int(fields["enabled"]))]
    for token in fields.get("tokens", []):
        inner = cdata("TOKEN", token["token"]) + tag("EXPIRATION_TIME", token["expires"]) + tag("EGID", -1)
        parts.append(tag("LOGIN_TOKEN", inner))
    return "".join(parts) + record.template.xml()


def group(front: Front, record: Record) -> str:
    members = [user.id for user in front.all("user") if record.id in (user["gid"], *user["groups"])]
    rules = tag("VLAN_RULES", tag("ID", record.id)) if front.settings.modern else ""
    quotas = quota_calls().xml(front, record) + rules + tag("DEFAULT_GROUP_QUOTAS", QUOTAS)
    return tag("GROUP", group_body(record, members) + quotas)


def group_body(record: Record, members: list[int]) -> str:
    return (tag("ID", record.id) + tag("NAME", record.name) + record.template.xml() + ids("USERS", members)
            + ids("ADMINS", record.numbers("admins")))


def cluster(front: Front, record: Record) -> str:
    parts = [tag("ID", record.id), tag("NAME", record.name)]
    for name, kind in (("HOSTS", "host"), ("DATASTORES", "datastore"), ("VNETS", "vn")):
        members = [item.id for item in front.all(kind) if record.id in item["clusters"]]
        parts.append(ids(name, members))
    return tag("CLUSTER", "".join(parts) + record.template.xml())


def zone(front: Front, record: Record) -> str:
    record.template.set("ENDPOINT", front.endpoint)
    head = tag("ID", record.id) + tag("NAME", record.name) + tag("STATE", 0) + record.template.xml()
    return tag("ZONE", head + "<SERVER_POOL></SERVER_POOL>")


def secgroup(front: Front, record: Record) -> str:
    head = record.owner_xml() + tag("NAME", record.name) + record.rights_xml()
    lists = ids("UPDATED_VMS", record.numbers("vms")) + "<OUTDATED_VMS></OUTDATED_VMS>"
    lists += "<UPDATING_VMS></UPDATING_VMS><ERROR_VMS></ERROR_VMS>"
    return tag("SECURITY_GROUP", head + lists + record.template.xml())


def hook(front: Front, record: Record) -> str:
    log = "".join(body for _, _, _, _, body in front.store.hook_log("hook=?", (record.id,)))
    return tag("HOOK", hook_body(record) + tag("HOOKLOG", log))


def hook_body(record: Record) -> str:
    return (tag("ID", record.id) + tag("NAME", record.name) + tag("TYPE", record["type"]) + record.lock_xml()
            + record.template.xml())


Render = Callable[[Front, Record], str]
EXTENDED: dict[str, Render] = {
    "image": image, "template": template, "document": document, "marketapp": marketapp, "market": market,
    "datastore": datastore, "user": user, "group": group, "cluster": cluster, "zone": zone,
    "secgroup": secgroup, "hook": hook, "host": hosts_xml.host, "vm": vm_xml.vm, "vn": vnets_xml.extended,
}
IN_POOL: dict[str, Render] = {
    **EXTENDED,
    "hook": lambda front, record: tag("HOOK", hook_body(record)),
    "vm": vm_xml.summary,
    "vn": vnets_xml.summary,
}


def in_call(front: Front, record: Record) -> str:
    """What one.<kind>.info answers."""
    return EXTENDED[record.kind](front, record)
