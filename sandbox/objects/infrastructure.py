# SPDX-License-Identifier: Apache-2.0
"""Hosts, clusters, zones and security groups."""

from __future__ import annotations

from typing import Any

from sandbox.core import errors, names, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Front
from sandbox.core.methods import method
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.objects import generic, hosts_xml

MONITORED, DISABLED, OFFLINE = 2, 4, 8
MEMORY_KB, CPU = 16777216, 800


def make_host(front: Front, name: str, im_mad: str, vm_mad: str, cluster: int) -> Record:
    """A monitored host; `vm_mad` dummy or kvm (kvm: live saveas and snapshots work)."""
    record = Record("host", front.next_id("host"), name)
    record.fields = {"state": MONITORED, "im_mad": im_mad, "vm_mad": vm_mad, "clusters": [cluster],
                     "total_memory_kb": MEMORY_KB, "total_cpu": CPU}
    values: dict[str, str] = {"ARCH": "x86_64", "CPUSPEED": "3200", "HOSTNAME": name, "HYPERVISOR": vm_mad,
                              "IM_MAD": im_mad,
                              "MODELNAME": "Dummy(R) Core @ 3.2GHz", "RESERVED_CPU": "", "RESERVED_MEM": "",
                              "VM_MAD": vm_mad}
    if front.settings.modern:
        values.update({"KVM_CPU_FEATURES": "sse2", "KVM_CPU_MODELS": "486 kvm64", "MEMORY_ENCRYPTION": "SEV",
                       "TOTALCPU": str(CPU), "TOTALMEMORY": str(MEMORY_KB)})
    record.template = Template(list(values.items()))
    return front.add(record)


@method("one.host.allocate", "sss|i")
def host_allocate(front: Front, caller: Caller, name: str, im_mad: str, vm_mad: str, cluster: int = -1) -> int:
    rights.require_create(caller, "host")
    if cluster != -1:
        front.get("cluster", cluster)
    problem = front.check_name("host", name, -1)
    if problem:
        raise names.allocation_error("host", problem, front.settings.modern)
    return make_host(front, name, im_mad, vm_mad, max(cluster, 0)).id


@method("one.host.delete", "i")
def host_delete(front: Front, caller: Caller, host_id: int) -> int:
    record = front.get("host", host_id)
    rights.require(caller, rights.ADMIN, record)
    if hosts_xml.vms_on(front, host_id):
        raise errors.action("Cannot delete host. Can not remove a host with running VMs")
    front.drop(record)
    return host_id


@method("one.host.status", "ii")
def host_status(front: Front, caller: Caller, host_id: int, status: int) -> int:
    record = front.get("host", host_id)
    rights.require(caller, rights.ADMIN, record)
    if status not in (0, 1, 2):
        raise errors.internal(f"Wrong status code [{status}]")
    record["state"] = (MONITORED, DISABLED, OFFLINE)[status]
    front.save(record)
    return host_id


@method("one.cluster.allocate", "s")
def cluster_allocate(front: Front, caller: Caller, name: str) -> int:
    rights.require_create(caller, "cluster")
    problem = front.check_name("cluster", name, -1)
    if problem:
        raise names.allocation_error("cluster", problem, front.settings.modern)
    return make_cluster(front, name).id


def make_cluster(front: Front, name: str) -> Record:
    template = [("RESERVED_CPU", ""), ("RESERVED_MEM", "")]
    return front.add(Record("cluster", front.next_id("cluster"), name, template=Template(list(template))))


@method("one.cluster.delete", "i")
def cluster_delete(front: Front, caller: Caller, cluster_id: int) -> int:
    record = front.get("cluster", cluster_id)
    rights.require(caller, rights.ADMIN, record)
    if cluster_id < 100:
        raise errors.action("Cannot delete cluster. System Clusters (ID < 100) cannot be deleted.")
    for kind in ("host", "datastore", "vn"):
        if any(cluster_id in item["clusters"] for item in front.all(kind)):
            raise errors.action(f"Cannot delete cluster. Cluster {cluster_id} is not empty.")
    front.drop(record)
    return cluster_id


def _membership(kind: str, word: str) -> None:
    def change(front: Front, caller: Caller, cluster_id: int, object_id: int, add: bool) -> int:
        cluster, record = front.get("cluster", cluster_id), front.get(kind, object_id)
        rights.require(caller, rights.ADMIN, cluster)
        clusters = [number for number in record["clusters"] if number != cluster_id]
        record["clusters"] = [cluster_id] if kind == "host" and add else clusters + [cluster_id] * add
        if kind == "host" and not add:
            record["clusters"] = [0]
        front.save(record)
        return cluster_id

    @method(f"one.cluster.add{word}", "ii")
    def add(front: Front, caller: Caller, cluster_id: int, object_id: int) -> int:
        return change(front, caller, cluster_id, object_id, True)

    @method(f"one.cluster.del{word}", "ii")
    def delete(front: Front, caller: Caller, cluster_id: int, object_id: int) -> int:
        return change(front, caller, cluster_id, object_id, False)


for _kind, _word in (("host", "host"), ("datastore", "datastore"), ("vn", "vnet")):
    _membership(_kind, _word)


@method("one.secgroup.allocate", "s")
def secgroup_allocate(front: Front, caller: Caller, text: str) -> int:
    rights.require_create(caller, "secgroup")
    template = generic.parsed(text)
    name = template.take("NAME")
    problem = front.check_name("secgroup", name, caller.uid)
    if problem:
        raise names.allocation_error("secgroup", problem, front.settings.modern)
    return make_secgroup(front, name, template).id


def make_secgroup(front: Front, name: str, template: Template) -> Record:
    record = Record("secgroup", front.next_id("secgroup"), name, template=template)
    return front.add(record)


@method("one.secgroup.delete", "i")
def secgroup_delete(front: Front, caller: Caller, group_id: int) -> int:
    record = front.get("secgroup", group_id)
    rights.require(caller, rights.MANAGE, record)
    if group_id == 0:
        raise errors.action("Cannot delete security group. The default security group (ID 0) cannot be deleted.")
    front.drop(record)
    return group_id


@method("one.document.allocate", "si")
def document_allocate(front: Front, caller: Caller, text: str, kind: int) -> int:
    template = generic.parsed(text)
    name = template.take("NAME")
    problem = front.check_name("document", name, caller.uid)
    if problem:
        raise names.allocation_error("document", problem, front.settings.modern)
    return owned(front, caller, "document", name, template, {"type": kind}).id


@method("one.document.delete", "i")
def document_delete(front: Front, caller: Caller, document_id: int) -> int:
    record = front.get("document", document_id)
    rights.require(caller, rights.MANAGE, record)
    front.drop(record)
    return document_id


def owned(front: Front, caller: Caller, kind: str, name: str, template: Template, fields: dict[str, Any]) -> Record:
    record = Record(kind, front.next_id(kind), name, caller.uid, caller.gid, caller.name, caller.group)
    record.template, record.fields = template, fields
    return front.add(record)
