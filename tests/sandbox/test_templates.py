# SPDX-License-Identifier: Apache-2.0
"""VM templates and the VMs made from them."""
from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.process import FrontEnd
from sandbox.world import guest
from tests.sandbox import driving
from tests.sandbox.driving import READY, RUNNING


def template(front_end: FrontEnd, body: str = "", session: str | None = None) -> int:
    text = f'NAME="{driving.name("t")}"\nCPU="0.1"\nMEMORY="64"\nGUEST="none"\n{body}'
    return int(front_end.call("one.template.allocate", text, session=session))


def test_extra_attributes_replace_those_of_the_template(front_end: FrontEnd) -> None:
    image = driving.image(front_end)
    number = template(front_end, f'DISK=[IMAGE_ID="{image}",CACHE="none"]\nLABEL="a"')
    vm = front_end.call("one.template.instantiate", number, "mine", False, 'MEMORY="128"\nLABEL="b"\nNOTE=[A="1"]',
                        False)
    driving.wait(front_end, "vm", vm, RUNNING)
    found = driving.xml(front_end, "vm", vm)
    assert found.findtext("NAME") == "mine"
    assert found.findtext("TEMPLATE/MEMORY") == "128"
    assert found.findtext("TEMPLATE/DISK/CACHE") == "none"
    assert (found.findtext("USER_TEMPLATE/LABEL"), found.findtext("USER_TEMPLATE/NOTE/A")) == ("b", "1")
    assert found.findtext("TEMPLATE/TEMPLATE_ID") == str(number)


def test_a_vm_without_a_name_is_called_after_its_template(front_end: FrontEnd) -> None:
    number = template(front_end)
    name = driving.xml(front_end, "template", number).findtext("NAME")
    vm = front_end.call("one.template.instantiate", number)
    assert driving.xml(front_end, "vm", vm).findtext("NAME") == f"{name}-{vm}"
    held = front_end.call("one.template.instantiate", number, "", True, "", False)
    assert driving.state(front_end, "vm", held) == driving.HOLD


def test_persistent_instances_have_images_of_their_own(front_end: FrontEnd) -> None:
    image = driving.image(front_end)
    number = template(front_end, f'DISK=[IMAGE_ID="{image}"]')
    vm = front_end.call("one.template.instantiate", number, driving.name("own"), False, "", True)
    driving.wait(front_end, "vm", vm, RUNNING)
    own = int(str(driving.xml(front_end, "vm", vm).findtext("TEMPLATE/DISK/IMAGE_ID")))
    assert own != image
    assert driving.xml(front_end, "image", own).findtext("PERSISTENT") == "1"
    assert driving.state(front_end, "image", image) == READY


def test_recursive_deletion_says_yes_even_when_images_stay(front_end: FrontEnd) -> None:
    used, free = driving.image(front_end), driving.image(front_end)
    number = template(front_end, f'DISK=[IMAGE_ID="{used}"]\nDISK=[IMAGE_ID="{free}"]')
    driving.vm(front_end, used)
    assert front_end.call("one.template.delete", number, True) == number
    driving.until(lambda: driving.refusal(lambda: front_end.call("one.image.info", free))[0] == 1024)
    assert driving.state(front_end, "image", used) == ("2", None)


def test_clones_keep_or_copy_their_images(front_end: FrontEnd) -> None:
    image = driving.image(front_end)
    number = template(front_end, f'DISK=[IMAGE_ID="{image}"]')
    plain = front_end.call("one.template.clone", number, driving.name("c"), False)
    deep = front_end.call("one.template.clone", number, driving.name("c"), True)
    assert driving.xml(front_end, "template", plain).findtext("TEMPLATE/DISK/IMAGE_ID") == str(image)
    copy = int(str(driving.xml(front_end, "template", deep).findtext("TEMPLATE/DISK/IMAGE_ID")))
    driving.wait(front_end, "image", copy, READY)


@pytest.mark.parametrize(("text", "message"), [
    ('MEMORY="64"', "CPU attribute must be a positive float or integer value."),
    ('CPU="1"', "MEMORY attribute must be a positive integer value."),
    ('CPU="1"\nMEMORY="64"\nDISK=[IMAGE_ID="9999"]', "DISK 0: Image with ID: 9999"),
    ('CPU="1"\nMEMORY="64"\nDISK=[IMAGE="none-such"]', "does not own an image with name: none-such"),
    ('CPU="1"\nMEMORY="64"\nDISK=[TYPE="fs"]', "DISK 0: SIZE attribute must be a positive integer value."),
    ('CPU="1"\nMEMORY="64"\nDISK=[TYPE="odd",SIZE="1"]', "DISK 0: Unknown disk type ODD"),
    ('CPU="1"\nMEMORY="64"\nNIC=[NETWORK_ID="9999"]', "Virtual network with ID: 9999 does not exist"),
])
def test_what_is_no_vm(front_end: FrontEnd, text: str, message: str) -> None:
    with driving.refused(16384, message):
        front_end.call("one.vm.allocate", text)


def test_a_vm_can_have_64_disks(front_end: FrontEnd) -> None:
    image = driving.image(front_end)
    vm = driving.vm(front_end, *[image] * 64)
    targets = [disk.findtext("TARGET") for disk in driving.xml(front_end, "vm", vm).findall("TEMPLATE/DISK")]
    assert len(set(targets)) == 64


def test_the_configuration_of_a_vm_can_be_changed(front_end: FrontEnd) -> None:
    vm = driving.vm(front_end, more='CONTEXT=[NETWORK="YES",OLD="1"]\nOS=[BOOT="disk0"]\n')
    front_end.call("one.vm.updateconf", vm, 'CONTEXT=[NEW="2",PASSWORD="secret"]\nGRAPHICS=[TYPE="vnc"]')
    found = driving.xml(front_end, "vm", vm)
    assert (found.findtext("TEMPLATE/CONTEXT/NEW"), found.find("TEMPLATE/CONTEXT/OLD")) == ("2", None)
    assert "secret" not in str(found.findtext("TEMPLATE/CONTEXT/PASSWORD"))
    driving.act(front_end, "suspend", vm, driving.SUSPENDED)
    with driving.refused(8192, "configuration cannot be updated in state SUSPENDED"):
        front_end.call("one.vm.updateconf", vm, 'CONTEXT=[NEW="3"]')


def test_disks_come_and_go(front_end: FrontEnd) -> None:
    vm, image = driving.vm(front_end, driving.image(front_end)), driving.image(front_end)
    front_end.call("one.vm.attach", vm, f'DISK=[IMAGE_ID="{image}"]')
    driving.wait(front_end, "vm", vm, RUNNING)
    assert Path(front_end.control("vm_disk", vm=vm, disk=1)).exists()
    assert driving.state(front_end, "image", image) == ("2", None)
    front_end.call("one.vm.detach", vm, 1)
    driving.wait(front_end, "vm", vm, RUNNING)
    assert driving.state(front_end, "image", image) == READY
    with driving.refused(2048, "Could not detach disk with DISK_ID 7, it does not exist."):
        front_end.call("one.vm.detach", vm, 7)


def test_guests_write_while_and_only_while_the_vm_runs(front_end: FrontEnd) -> None:
    vm = driving.vm(front_end, driving.image(front_end), driving.image(front_end), more='GUEST="yes"\n')
    place = Path(front_end.control("vm_disk", vm=vm, disk=0)).parent
    assert guest.is_running(place)
    driving.act(front_end, "suspend", vm, driving.SUSPENDED)
    assert guest.is_running(place)
    drives = [guest.GuestDisk(place / f"disk.{number}", "qcow2") for number in (0, 1)]
    paused = guest.inspect(drives)
    driving.act(front_end, "resume", vm, RUNNING)
    driving.act(front_end, "poweroff", vm, driving.POWEROFF)
    stopped = guest.inspect(drives)
    assert not guest.is_running(place)
    assert stopped.consistent and int(stopped.counters[0] or 0) > int(paused.counters[0] or 0)
    driving.act(front_end, "resume", vm, RUNNING)
    driving.act(front_end, "terminate-hard", vm, driving.DONE)
    driving.until(lambda: not guest.is_running(place))


def test_quotas(front_end: FrontEnd) -> None:
    user, session = driving.user(front_end)
    front_end.call("one.user.quota", user, 'DATASTORE=[ID="1",IMAGES="1",SIZE="-1"]\nVM=[VMS="1",CPU="-1",MEMORY="64"]')
    text = f'NAME="{driving.name("i")}"\nSIZE="4"\nTYPE="DATABLOCK"'
    front_end.call("one.image.allocate", text, 1, session=session)
    with driving.refused(512, f"User [{user}] : user [{user}] limit of 1 reached for IMAGES quota in DATASTORE"):
        front_end.call("one.image.allocate", f'NAME="{driving.name("i")}"\nSIZE="4"', 1, session=session)
    front_end.call("one.vm.allocate", 'CPU="0.1"\nMEMORY="32"\nGUEST="none"', session=session)
    with driving.refused(512, "limit of 1 reached for VMS quota in VM"):
        front_end.call("one.vm.allocate", 'CPU="0.1"\nMEMORY="32"\nGUEST="none"', session=session)
    assert driving.xml(front_end, "user", user).findtext("DATASTORE_QUOTA/DATASTORE/IMAGES_USED") == "1"
