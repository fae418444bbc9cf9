# SPDX-License-Identifier: Apache-2.0
"""The XML of hosts, with the capacity their VMs use."""

from __future__ import annotations

from sandbox.core.front import Front
from sandbox.core.record import Record
from sandbox.core.template import attribute_xml
from sandbox.core.xml_text import cdata, ids, tag

NODES = 2


def host(front: Front, record: Record) -> str:
    parts = [tag("ID", record.id), tag("NAME", record.name), tag("STATE", record["state"])]
    parts += [tag("PREV_STATE", record["state"]), cdata("IM_MAD", record["im_mad"]), cdata("VM_MAD", record["vm_mad"])]
    cluster = front.find("cluster", record["clusters"][0])
    parts += [tag("CLUSTER_ID", record["clusters"][0]), tag("CLUSTER", cluster.name if cluster else "")]
    vms = vms_on(front, record.id)
    parts += [_share(front, record, vms), ids("VMS", [vm.id for vm in vms]), record.template.xml(), "<MONITORING/>"]
    return tag("HOST", "".join(parts))


def vms_on(front: Front, host_id: int) -> list[Record]:
    return [vm for vm in front.all("vm") if vm["state"] in (3, 5, 8) and vm["history"] and
            vm["history"][-1]["HID"] == host_id]


def _share(front: Front, record: Record, vms: list[Record]) -> str:
    memory = sum(int(float(vm.template.get("MEMORY", "0")) * 1024) for vm in vms)
    cpu = sum(int(float(vm.template.get("CPU", "0")) * 100) for vm in vms)
    total_memory, total_cpu = record["total_memory_kb"], record["total_cpu"]
    parts = [tag("MEM_USAGE", memory), tag("CPU_USAGE", cpu), tag("TOTAL_MEM", total_memory)]
    parts += [tag("TOTAL_CPU", total_cpu), tag("MAX_MEM", total_memory), tag("MAX_CPU", total_cpu)]
    parts += [tag("RUNNING_VMS", len(vms)), tag("VMS_THREAD", 1), _disk_space()]
    nodes = "".join(_node(number, total_memory, front.settings.modern) for number in range(NODES))
    parts += ["<PCI_DEVICES></PCI_DEVICES>", tag("NUMA_NODES", nodes)]
    return tag("HOST_SHARE", "".join(parts))


def _disk_space() -> str:
    values = {"DISK_USAGE": "0", "FREE_DISK": "20480", "MAX_DISK": "20480", "USED_DISK": "9720"}
    return tag("DATASTORES", "".join(cdata(key, value) for key, value in values.items()))


def _node(number: int, memory_kb: int, modern: bool) -> str:
    parts = []
    for core in range(4):
        threads = f"{number * 8 + core * 2}:-1,{number * 8 + core * 2 + 1}:-1"
        values = {"CPUS": threads, "DEDICATED": "NO", "FREE": "2", "ID": str(number * 4 + core)}
        parts.append(attribute_xml("CORE", values))
    used = {} if modern else {"FREE": "0"}
    parts += [attribute_xml("HUGEPAGE", {**used, "PAGES": "0", "SIZE": size, "USAGE": "0"}) for size in
              ("2048", "1048576")]
    more = {} if modern else {"FREE": "0", "USED": "0"}
    parts.append(attribute_xml("MEMORY", {"DISTANCE": "0 1", "TOTAL": str(memory_kb // NODES), "USAGE": "0", **more}))
    return tag("NODE", "".join(parts) + cdata("NODE_ID", str(number)))
