# SPDX-License-Identifier: Apache-2.0
"""The template of a restored VM: what a user could have typed stays, what oned worked out does not come along."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lxml import etree

from onebackup_driver import restore_template, template_text, vm, xml_values
from onebackup_driver.xml_values import Attribute, Vector
from sandbox.core.template import Template
from tests import objects

#: What the recorded VMs were made of (recordings: one.template.allocate), and what updateconf may have added.
TYPED = {"CPU": "0.5", "VCPU": "1", "MEMORY": "128", "INPUTS_ORDER": "", "LABELS": "prod,db"}


def of(found: list[Attribute], name: str) -> list[Any]:
    return [value for key, value in found if key == name]


def with_template(xml: str, version: str = "7.4", user_xml: str = "") -> vm.VirtualMachine:
    """The recorded VM with more in its TEMPLATE and USER_TEMPLATE; an attribute it has already is replaced."""
    element = objects.load(version, "vm-running")
    for path, text in (("TEMPLATE", xml), ("USER_TEMPLATE", user_xml)):
        place = element.find(path)
        assert place is not None
        for child in etree.fromstring(f"<X>{text}</X>"):
            for old in place.findall(str(child.tag)):
                place.remove(old)
            place.append(child)
    return vm.parse(element)


@pytest.mark.parametrize("version", objects.VERSIONS)
@pytest.mark.parametrize("name", ["vm-running", "vm-poweroff", "vm-with-snapshot", "vm-locked"])
def test_the_recorded_vms(version: str, name: str) -> None:
    machine = objects.machine(version, name)
    found = restore_template.body(machine, keep_uuid=True)
    for key, value in TYPED.items():
        if key in ("INPUTS_ORDER", "LABELS"):
            continue
        assert of(found, key) == [value]
    (context,), (graphics,), (os,) = of(found, "CONTEXT"), of(found, "GRAPHICS"), of(found, "OS")
    assert set(context) == {"NETWORK", "PASSWORD", "SSH_PUBLIC_KEY"} and context["NETWORK"] == "YES"
    assert graphics == {"LISTEN": "0.0.0.0", "TYPE": "VNC"}
    assert os["UUID"] and os.get("MACHINE", "") == {"6.4": "", "7.4": "q35"}[version]
    assert {key for key, _ in found} <= {*TYPED, "CONTEXT", "GRAPHICS", "OS"}


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_user_attributes_stay(version: str) -> None:
    found = restore_template.user_attributes(objects.machine(version))
    assert (of(found, "LABELS"), of(found, "INPUTS_ORDER")) == (["prod,db"], [""])
    (backup,) = of(found, "BACKUP")
    assert set(backup) == {"FREQUENCY_SECONDS", "MARKETPLACE_ID"}


def test_the_old_vms_life_stays_behind() -> None:
    """A restored VM was never backed up: the old one's restore points are not its own."""
    machine = with_template(
        "",
        user_xml="<BACKUP><FREQUENCY_SECONDS>60</FREQUENCY_SECONDS><LAST_BACKUP_TIME>9</LAST_BACKUP_TIME>"
        "<MARKETPLACE_APP_IDS>1,2</MARKETPLACE_APP_IDS><MODE>LIVE</MODE></BACKUP>"
        "<ONEBACKUP><STATE>OK</STATE></ONEBACKUP><ERROR>Mon: broke</ERROR><SCHED_MESSAGE>no host</SCHED_MESSAGE>"
        "<SCHED_REQUIREMENTS>ID=1</SCHED_REQUIREMENTS>",
    )
    found = restore_template.user_attributes(machine)
    assert of(found, "BACKUP") == [{"FREQUENCY_SECONDS": "60", "MODE": "LIVE"}]
    assert of(found, "ONEBACKUP") + of(found, "ERROR") + of(found, "SCHED_MESSAGE") == []
    assert of(found, "SCHED_REQUIREMENTS") == ["ID=1"]


def test_notes_on_a_vm_are_no_part_of_its_machine() -> None:
    """Its owner can write any attribute there; in a template they would be orders, carried out with our rights."""
    notes = (
        "<DISK><IMAGE_ID>7</IMAGE_ID></DISK><NIC><NETWORK_ID>7</NETWORK_ID></NIC><MEMORY>9999</MEMORY><NAME>x</NAME>"
    )
    machine = with_template("", user_xml=f"{notes}<NOTE>n</NOTE>")
    for found in (restore_template.body(machine, True), restore_template.stock_text(machine)):
        assert of(found, "DISK") == [] and of(found, "NAME") == [] and of(found, "MEMORY") == ["128"]
        assert "7" not in [value.get("NETWORK_ID") for value in of(found, "NIC")]
    assert of(restore_template.stock_text(machine), "NOTE") == ["n"]
    assert of(restore_template.user_attributes(machine), "DISK") == [{"IMAGE_ID": "7"}]


def test_the_machine_id_only_for_a_vm_that_is_gone() -> None:
    machine = objects.machine("7.4")
    assert of(restore_template.body(machine, keep_uuid=False), "OS") == [{"MACHINE": "q35"}]
    assert of(restore_template.body(objects.machine("6.4"), keep_uuid=False), "OS") == []


def test_what_updateconf_and_templates_can_set_stays() -> None:
    xml = (
        "<OS><BOOT>disk0,nic0</BOOT><FIRMWARE>/usr/share/OVMF/OVMF_CODE.fd</FIRMWARE><KERNEL_CMD>quiet</KERNEL_CMD></OS>"
        "<FEATURES><ACPI>yes</ACPI><GUEST_AGENT>yes</GUEST_AGENT></FEATURES><RAW><TYPE>kvm</TYPE><DATA>a]b</DATA></RAW>"
        "<INPUT><TYPE>tablet</TYPE><BUS>usb</BUS></INPUT><CPU_MODEL><MODEL>host-passthrough</MODEL></CPU_MODEL>"
        "<TOPOLOGY><CORES>2</CORES><SOCKETS>1</SOCKETS><PIN_POLICY>CORE</PIN_POLICY></TOPOLOGY><MEMORY_MAX>4096</MEMORY_MAX>"
        "<NIC_DEFAULT><MODEL>virtio</MODEL></NIC_DEFAULT><VMGROUP><ROLE>db</ROLE><VMGROUP_ID>3</VMGROUP_ID></VMGROUP>"
        "<VIDEO><TYPE>virtio</TYPE></VIDEO><TPM><MODEL>tpm-crb</MODEL></TPM>"
    )
    machine = with_template(xml)
    found = restore_template.body(machine, keep_uuid=True)
    for child in etree.fromstring(f"<X>{xml}</X>"):
        expected: Any = xml_values.vector(child) if len(child) else child.text
        assert of(found, str(child.tag)) == [expected], child.tag


def test_several_attributes_of_one_name_stay_several() -> None:
    inputs = "<INPUT><TYPE>tablet</TYPE></INPUT><INPUT><TYPE>mouse</TYPE></INPUT>"
    element = objects.load("7.4", "vm-running")
    place = element.find("TEMPLATE")
    assert place is not None
    place.extend(list(etree.fromstring(f"<X>{inputs}</X>")))
    assert of(restore_template.body(vm.parse(element), True), "INPUT") == [{"TYPE": "tablet"}, {"TYPE": "mouse"}]


def test_a_context_of_ones_own_addresses_keeps_them() -> None:
    """With NETWORK="YES" oned makes ETH0_* from the NICs; without it they are the user's own."""
    own = "<ETH0_IP>192.0.2.1</ETH0_IP><START_SCRIPT>echo &quot;hi&quot;</START_SCRIPT><TARGET>hda</TARGET>"
    assert of(restore_template.body(with_template(f"<CONTEXT>{own}</CONTEXT>"), True), "CONTEXT") == [
        {"ETH0_IP": "192.0.2.1", "START_SCRIPT": 'echo "hi"'}
    ]


def test_what_is_derived_does_not_come_along() -> None:
    xml = (
        "<NUMA_NODE><CPUS>1</CPUS></NUMA_NODE><SNAPSHOT><NAME>s</NAME></SNAPSHOT><AUTOMATIC_REQUIREMENTS>x</AUTOMATIC_REQUIREMENTS>"
        "<PCI><TYPE>NIC</TYPE><CLASS>0c03</CLASS><VENDOR>8086</VENDOR><ADDRESS>0000:01</ADDRESS><VM_BUS>0x01</VM_BUS></PCI>"
    )
    found = restore_template.body(with_template(xml), keep_uuid=True)
    gone = {
        "NUMA_NODE",
        "SNAPSHOT",
        "AUTOMATIC_REQUIREMENTS",
        "VMID",
        "TEMPLATE_ID",
        "TM_MAD_SYSTEM",
        "SECURITY_GROUP_RULE",
    }
    assert not gone & {key for key, _ in found}
    assert of(found, "PCI") == [{"TYPE": "NIC", "CLASS": "0c03", "VENDOR": "8086"}]


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_disks(version: str) -> None:
    machine = objects.machine(version)
    cdrom = {"6.4": {"DEV_PREFIX": "hd", "TARGET": "hda", "IMAGE_ID": "45"}, "7.4": {"TARGET": "sda", "IMAGE_ID": "23"}}
    volatile = {"6.4": "sda", "7.4": "sdc"}
    assert restore_template.disks(machine, {0: 100, 1: 101}) == [
        ("DISK", {"DEV_PREFIX": "vd", "TARGET": "vda", "IMAGE_ID": "100"}),
        ("DISK", {"DEV_PREFIX": "vd", "TARGET": "vdb", "IMAGE_ID": "101"}),
        ("DISK", {"DEV_PREFIX": "sd", "TARGET": volatile[version], "TYPE": "fs", "SIZE": "64", "FORMAT": "qcow2"}),
        ("DISK", cdrom[version]),
    ]


def test_a_disk_that_was_not_saved_is_not_made_up() -> None:
    found = restore_template.disks(objects.machine(), {1: 101})
    assert [value["IMAGE_ID"] for _, value in found if isinstance(value, dict) and "IMAGE_ID" in value] == ["101", "23"]


def test_disk_attributes_of_the_user_stay() -> None:
    typed = {
        "CACHE": "none",
        "IO": "native",
        "DISCARD": "unmap",
        "ORDER": "1",
        "TOTAL_BYTES_SEC": "1000",
        "READ_IOPS_SEC": "5",
        "SIZE_IOPS_SEC": "9",
        "TOTAL_BYTES_SEC_MAX": "2",
        "IOTHREADS": "1",
        "RECOVERY_SNAPSHOT_FREQ": "3",
        "VIRTIO_BLK_QUEUES": "auto",
        "SERIAL": "abc",
    }
    disk = objects.machine().disks[0]
    assert restore_template.disk_attributes({**disk.attributes, **typed}) == {
        "DEV_PREFIX": "vd",
        "TARGET": "vda",
        **typed,
    }


@pytest.mark.parametrize("version, network_id", [("6.4", "5"), ("7.4", "2")])
def test_nics(version: str, network_id: str) -> None:
    ((kind, nic),) = restore_template.nics(objects.machine(version))
    assert kind == "NIC" and isinstance(nic, dict)
    assert re.match(r"net-\d+\Z", nic.pop("NETWORK"))
    assert nic == {
        "IP": "10.0.0.10",
        "MAC": "02:00:0a:00:00:0a",
        "NAME": "NIC0",
        "NETWORK_ID": network_id,
        "SECURITY_GROUPS": "0",
    }


def test_nic_attributes_of_the_user_stay() -> None:
    typed: Vector = {
        "MODEL": "virtio",
        "FILTER": "clean-traffic",
        "INBOUND_AVG_BW": "100",
        "VIRTIO_QUEUES": "4",
        "RDP": "YES",
        "SSH": "YES",
        "SECURITY_GROUPS": "0,100",
        "NETWORK_UNAME": "alice",
        "IP6": "2001:db8::5",
        "NAME": "front",
    }
    derived: Vector = {
        "VN_MAD": "vxlan",
        "PHYDEV": "eth0",
        "VLAN_ID": "7",
        "BRIDGE": "br7",
        "GATEWAY": "10.0.0.1",
        "NIC_ID": "1",
    }
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in {**derived, **typed}.items())
    machine = with_template(f"<NIC>{inside}</NIC><NIC_ALIAS><PARENT>front</PARENT><PARENT_ID>1</PARENT_ID></NIC_ALIAS>")
    assert restore_template.nics(machine) == [("NIC", typed), ("NIC_ALIAS", {"PARENT": "front"})]


def test_a_nic_without_its_addresses() -> None:
    nic = {"IP": "10.0.0.1", "IP6": "::1", "MAC": "02:00", "NETWORK_ID": "2", "MODEL": "virtio"}
    assert restore_template.without_addresses(nic) == {"NETWORK_ID": "2", "MODEL": "virtio"}


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_a_stock_restore_gets_automatic_networks_and_no_disks(version: str) -> None:
    found = restore_template.stock_text(objects.machine(version))
    assert of(found, "DISK") == [] and of(found, "NIC") == [{"NAME": "NIC0", "NETWORK_MODE": "auto"}]
    assert of(found, "MEMORY") == ["128"] and "UUID" not in (of(found, "OS") or [{}])[0]


@pytest.mark.parametrize("version", objects.VERSIONS)
@pytest.mark.parametrize(
    "name", ["vm-running", "vm-poweroff", "vm-with-snapshot", "vm-locked", "vm-pending", "vm-done"]
)
def test_the_text_is_what_oned_reads_back(version: str, name: str) -> None:
    machine = objects.machine(version, name, USER_TEMPLATE__NOTE='a"b]\nc\\', TEMPLATE__CONTEXT__START_SCRIPT="x=[1]\n")
    whole = [
        *restore_template.body(machine, keep_uuid=True),
        *restore_template.user_attributes(machine),
        *restore_template.disks(machine, {0: 100, 1: 101}),
        *restore_template.nics(machine),
    ]
    assert Template.parse(template_text.render(whole)).items == whole
    assert of(whole, "NOTE") == ['a"b]\nc\\'] and of(whole, "CONTEXT")[0]["START_SCRIPT"] == "x=[1]\n"
