# SPDX-License-Identifier: Apache-2.0
"""The XML of a VM: in full, and the summary of one.vmpool.info."""

from __future__ import annotations

from typing import Any, Optional

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.core.template import Template, attribute_xml
from sandbox.core.xml_text import cdata, ids, tag

DISK_SUMMARY = ("DISK_ID", "DATASTORE", "DATASTORE_ID", "IMAGE", "IMAGE_ID", "SIZE", "TYPE", "CLONE", "CLONE_TARGET",
                "LN_TARGET", "DISK_SNAPSHOT_TOTAL_SIZE")
NIC_SUMMARY = ("IP", "MAC", "NETWORK", "NETWORK_ID", "NIC_ID", "SECURITY_GROUPS")
USER_SUMMARY = ("LABELS", "ERROR", "SCHED_MESSAGE")
TIMES = ("PSTIME", "PETIME", "RSTIME", "RETIME", "ESTIME", "EETIME")


def vm(front: Front, record: Record) -> str:
    fields, modern = record.fields, front.settings.modern
    parts = [record.owner_xml(), tag("NAME", record.name), record.rights_xml(), _states(record)]
    parts += [tag("DEPLOY_ID", fields["deploy_id"]), record.lock_xml(), "<MONITORING></MONITORING>"]
    if modern:
        parts.append("<SCHED_ACTIONS></SCHED_ACTIONS>")
    parts += [record.template.xml(), Template(user_items(record)).xml("USER_TEMPLATE")]
    parts.append(_history_records([history(item, modern) for item in fields["history"]]))
    parts += [snapshots(item, disk) for disk, item in _disk_snapshots(record)]
    if modern:
        parts.append(_backups(record))
    return tag("VM", "".join(parts))


def _states(record: Record) -> str:
    keys = ("last_poll", "state", "lcm_state", "prev_state", "prev_lcm_state", "resched", "stime", "etime")
    return "".join(tag(key.upper(), record[key]) for key in keys)


def user_items(record: Record) -> list[Any]:
    return [(name, value) for name, value in record["user_template"]]


def _history_records(items: list[str]) -> str:
    return f"<HISTORY_RECORDS>{''.join(items)}</HISTORY_RECORDS>" if items else "<HISTORY_RECORDS/>"


def history(item: dict[str, Any], modern: bool) -> str:
    keys: list[str] = ["OID", "SEQ", "HOSTNAME", "HID", "CID", "STIME", "ETIME"]
    parts = [tag(key, item[key]) for key in keys] + [cdata(key, item[key]) for key in ("VM_MAD", "TM_MAD")]
    parts.append(tag("DS_ID", item["DS_ID"]))
    if modern:
        parts += [tag("PLAN_ID", -1), tag("ACTION_ID", 0)]
    parts += [tag(key, item[key]) for key in (*TIMES, "ACTION", "UID", "GID", "REQUEST_ID")]
    return tag("HISTORY", "".join(parts))


def _disk_snapshots(record: Record) -> list[Any]:
    found = sorted(record["snapshots"].items(), key=lambda item: int(item[0]))
    return [(int(disk), item) for disk, item in found if item["list"]]


def snapshots(item: dict[str, Any], disk_id: Optional[int]) -> str:
    parts = [cdata("ALLOW_ORPHANS", item["allow_orphans"]), cdata("CURRENT_BASE", str(item.get("base", -1)))]
    if disk_id is not None:
        parts.append(cdata("DISK_ID", str(disk_id)))
    parts.append(cdata("NEXT_SNAPSHOT", str(item["next"])))
    parts += [attribute_xml("SNAPSHOT", snapshot) for snapshot in item["list"]]
    return tag("SNAPSHOTS", "".join(parts))


def _backups(record: Record) -> str:
    config = record.get("backup_config") or {}
    xml = attribute_xml("BACKUP_CONFIG", config) if config else "<BACKUP_CONFIG/>"
    return tag("BACKUPS", xml + ids("BACKUP_IDS", record.numbers("backup_ids")))


def summary(front: Front, record: Record) -> str:
    parts = [record.owner_xml(), tag("NAME", record.name)]
    parts += [tag(key.upper(), record[key]) for key in
              ("last_poll", "state", "lcm_state", "resched", "stime", "etime", "deploy_id")]
    if record.lock is not None:
        parts.append(tag("LOCK", tag("LOCKED", record.lock["LOCKED"])))
    parts += [_summary_template(record, front.settings.modern), "<MONITORING></MONITORING>"]
    user = [(name, value) for name, value in user_items(record) if name in USER_SUMMARY]
    parts.append(Template(user).xml("USER_TEMPLATE"))
    parts.append(_history_records([_summary_history(item) for item in record["history"][-1:]]))
    return tag("VM", "".join(parts))


def _summary_template(record: Record, modern: bool) -> str:
    template = record.template
    singles = ("CPU", "MEMORY", "VCPU") if modern else ("CPU", "MEMORY")
    parts = [tag(name, template.get(name)) for name in singles]
    parts += [_picked("DISK", DISK_SUMMARY, disk) for disk in template.vectors("DISK")]
    parts += [_picked("NIC", NIC_SUMMARY, nic) for nic in template.vectors("NIC")]
    parts += [attribute_xml("GRAPHICS", graphics) for graphics in template.vectors("GRAPHICS")]
    return tag("TEMPLATE", "".join(parts))


def _picked(name: str, keys: Any, vector: dict[str, str]) -> str:
    return tag(name, "".join(cdata(key, vector.get(key, "")) for key in keys))


def _summary_history(item: dict[str, Any]) -> str:
    parts = [tag("OID", item["OID"]), tag("SEQ", item["SEQ"]), cdata("HOSTNAME", item["HOSTNAME"])]
    parts += [tag(key, item[key]) for key in ("HID", "CID", "DS_ID")]
    parts += [cdata(key, str(item[key])) for key in ("VM_MAD", "TM_MAD", "ACTION")]
    return tag("HISTORY", "".join(parts))
