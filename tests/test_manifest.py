# SPDX-License-Identifier: Apache-2.0
"""What a restore point's apps say, through the front-end's own grammar and back; damaged ones give nothing."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from onebackup_driver import app, manifest, vm
from sandbox.core.template import Template
from tests import objects
from tests.objects import RUN, TIME


def canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n2")


def carrying(text: str) -> etree._Element:
    """A VMTEMPLATE app whose VM is this Base64."""
    return objects.altered(objects.restore_point_apps()[-1], TEMPLATE__ONEBACKUP_VM=text).element


@pytest.mark.parametrize("version", objects.VERSIONS)
@pytest.mark.parametrize("name", ["vm-running", "vm-poweroff", "vm-locked"])
def test_the_vm_comes_back_whole(version: str, name: str) -> None:
    machine = objects.machine(version, name)
    text = manifest.vm_app("n", "", version, manifest.tags(machine, RUN, "vm", TIME), [], machine)
    found = manifest.read_vm(objects.stored(objects.load(version, "app-vmtemplate"), text).element)
    assert found is not None
    expected = objects.load(version, name)
    records = expected.find("HISTORY_RECORDS")
    assert records is not None
    for record in list(records)[:-1]:
        records.remove(record)
    for monitoring in expected.findall("MONITORING"):
        for child in list(monitoring):
            monitoring.remove(child)
    assert canonical(found) == canonical(expected)
    assert vm.parse(found).state == machine.state


def test_what_only_grows_is_left_out() -> None:
    machine = objects.machine("7.4", "vm-poweroff")
    monitoring = machine.element.find("MONITORING")
    assert monitoring is not None and len(machine.element.findall("HISTORY_RECORDS/HISTORY")) == 2
    etree.SubElement(monitoring, "CPU").text = "12.5"
    kept = etree.fromstring(manifest.kept_vm(machine.element))
    assert [record.findtext("SEQ") for record in kept.findall("HISTORY_RECORDS/HISTORY")] == ["1"]
    assert kept.find("MONITORING") is not None and kept.find("MONITORING/CPU") is None
    assert machine.element.find("MONITORING/CPU") is not None


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=30))
def test_user_attributes_survive_the_whole_way(value: str) -> None:
    machine = objects.machine(NAME=value, USER_TEMPLATE__NOTE=value)
    text = manifest.vm_app("n", "", "7.4.0", manifest.tags(machine, RUN, "vm", TIME), [], machine)
    found = manifest.read_vm(objects.stored(objects.load("7.4", "app-vmtemplate"), text).element)
    assert found is not None and (found.findtext("NAME"), found.findtext("USER_TEMPLATE/NOTE")) == (value, value)


def test_a_start_script_with_markup_is_not_taken_for_an_attack() -> None:
    script = "#!/bin/sh\ncat > index.html <<END\n<!DOCTYPE html>\n<p>&amp; ]]> <!ENTITY x 'y'></p>\nEND\n"
    machine = objects.machine(TEMPLATE__CONTEXT__START_SCRIPT=script)
    found = manifest.read_vm(carrying(manifest.encode(manifest.kept_vm(machine.element))))
    assert found is not None and found.findtext("TEMPLATE/CONTEXT/START_SCRIPT") == script


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_a_vm_app_can_be_used_by_a_stock_front_end(version: str) -> None:
    """TYPE, VERSION, ORIGIN_ID, APPTEMPLATE64 and DISK=[NAME, APP] as the stock tool writes them."""
    *disks, whole = objects.restore_point_apps(version)
    template = whole.element.find("TEMPLATE")
    assert template is not None
    assert [template.findtext(name) for name in ("TYPE", "VERSION", "ORIGIN_ID")] == ["VMTEMPLATE", version, "-1"]
    assert [(d.findtext("NAME"), d.findtext("APP")) for d in template.findall("DISK")] == [
        ("OS_0", disks[0].name),
        ("OS_1", disks[1].name),
    ]
    assert base64.b64decode(template.findtext("APPTEMPLATE64") or "") == b'CPU="1"'


@pytest.mark.parametrize("image_type, written", [("0", "OS"), ("2", "DATABLOCK")])
def test_an_image_app(image_type: str, written: str) -> None:
    image = objects.changed(objects.load("7.4", "image-saved"), TYPE=image_type)
    machine = objects.machine()
    tag = manifest.tags(machine, RUN, manifest.ROLE_DISK, TIME)
    template = Template.parse(manifest.image_app("n", image, machine.disks[1], "7.4.0", tag))
    assert [template.get(name) for name in ("NAME", "TYPE", "ORIGIN_ID", "VERSION")] == ["n", "IMAGE", "26", "7.4.0"]
    inner = base64.b64decode(template.get("APPTEMPLATE64")).decode()
    assert Template.parse(inner).items == [("TYPE", written), ("DEV_PREFIX", "vd")] and inner.endswith("\n")
    assert template.vector("ONEBACKUP") == {
        "RUN": RUN,
        "ROLE": "disk",
        "VM_ID": "4",
        "VM_NAME": "web-1795401518",
        "VM_STARTED": "1795401538",
        "TIME": str(TIME),
        "DISK_ID": "1",
    }


def test_an_image_without_prefix_has_none() -> None:
    image = objects.load("7.4", "image-saved")
    template = image.find("TEMPLATE")
    assert template is not None
    template.remove(template.find("DEV_PREFIX"))  # type: ignore[arg-type]
    machine = objects.machine()
    text = manifest.image_app("n", image, machine.disks[0], "7.4.0", {})
    assert base64.b64decode(Template.parse(text).get("APPTEMPLATE64")) == b'TYPE="OS"\n'


def test_a_vm_without_disks_names_none() -> None:
    machine = objects.machine()
    text = manifest.vm_app("n", "", "7.4.0", {}, [], machine)
    assert manifest.read_disks(objects.stored(objects.load("7.4", "app-vmtemplate"), text).element) == []


def test_64_disks() -> None:
    disks = [manifest.SavedDisk(n, 100 + n, f"web-disk-{n}", 10 + n, f"{n:032x}", "qcow2") for n in range(64)]
    text = manifest.vm_app("n", "", "7.4.0", {}, disks, objects.machine())
    assert manifest.read_disks(objects.stored(objects.load("7.4", "app-vmtemplate"), text).element) == disks


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_apps_that_are_not_ours_carry_nothing(version: str) -> None:
    for found in app.parse_pool(objects.load(version, "apppool")):
        assert manifest.read_vm(found.element) is None and manifest.read_disks(found.element) == []


WHOLE = manifest.encode(manifest.kept_vm(objects.load("7.4", "vm-running")))
BOMB = '<!DOCTYPE VM [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "=",
        "not Base64 at all!",
        WHOLE[: len(WHOLE) // 2],
        WHOLE[1:],
        base64.b64encode(b"\xff\xfe\x00").decode(),
        manifest.encode("no XML"),
        manifest.encode("<VM><ID>4</ID>"),
        manifest.encode("<IMAGE><ID>4</ID></IMAGE>"),
        manifest.encode('<VM xmlns="x"><ID>4</ID></VM>'),
        manifest.encode("<VM><ID>\x01</ID></VM>"),
        manifest.encode("<VM>&undefined;</VM>"),
        manifest.encode("<!DOCTYPE VM><VM><ID>4</ID></VM>"),
        manifest.encode('<!DOCTYPE VM [<!ENTITY x "4">]><VM><ID>&x;</ID></VM>'),
        manifest.encode('<!DOCTYPE VM [<!ENTITY x SYSTEM "file:///etc/passwd">]><VM><ID>&x;</ID></VM>'),
        manifest.encode(f'<!--{"x" * 2000}--><!DOCTYPE VM [<!ENTITY x "4">]><VM a="&x;"><ID>4</ID></VM>'),
        manifest.encode(BOMB + "]><VM><ID>&i;</ID></VM>"),
        manifest.encode(BOMB + ']><VM a="&i;"><ID>4</ID></VM>'),
        manifest.encode(f'{" " * 2000}{BOMB}]><VM a="&i;"><ID>4</ID></VM>'),
        manifest.encode("<VM>" + "x" * (17 * 1024 * 1024) + "</VM>"),
    ],
)
def test_a_damaged_or_forged_vm_is_none_and_takes_no_time(text: str) -> None:
    element = carrying(text)
    began = time.monotonic()
    assert manifest.read_vm(element) is None
    assert time.monotonic() - began < 5


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_text_survives_base64(text: str) -> None:
    assert manifest.decode(manifest.encode(text)) == text
    manifest.decode(text)
