# SPDX-License-Identifier: Apache-2.0
"""Images: states that follow from their users, and the calls on them."""
from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.process import FrontEnd
from sandbox.world import disks
from tests.sandbox import driving
from tests.sandbox.driving import READY

USED, DISABLED, USED_PERS = ("2", None), ("3", None), ("8", None)


def test_a_used_image_can_be_neither_deleted_nor_disabled(front_end: FrontEnd) -> None:
    image = driving.image(front_end)
    vm = driving.vm(front_end, image)
    assert driving.state(front_end, "image", image) == USED
    with driving.refused(2048, "Cannot delete image. There are 1 VMs using it."):
        front_end.call("one.image.delete", image)
    with driving.refused(8192, "Could not disable image: Image cannot be in state USED."):
        front_end.call("one.image.enable", image, False)
    driving.act(front_end, "terminate-hard", vm, driving.DONE)
    assert driving.state(front_end, "image", image) == READY
    front_end.call("one.image.delete", image)
    driving.until(lambda: driving.refusal(lambda: front_end.call("one.image.info", image))[0] == 1024)


def test_a_persistent_image_has_one_user(front_end: FrontEnd) -> None:
    image = driving.image(front_end, more='PERSISTENT="YES"')
    vm = driving.vm(front_end, image)
    assert driving.state(front_end, "image", image) == USED_PERS
    with driving.refused(16384, f"DISK 0: Cannot acquire image {image}, it is persistent and already in use"):
        driving.vm(front_end, image)
    path = Path(front_end.control("vm_disk", vm=vm, disk=0))
    source = driving.xml(front_end, "image", image).findtext("SOURCE")
    assert path.is_symlink() and str(path.resolve()) == source


def test_a_disabled_image_cannot_be_used(front_end: FrontEnd) -> None:
    image = driving.image(front_end)
    front_end.call("one.image.enable", image, False)
    assert driving.state(front_end, "image", image) == DISABLED
    with driving.refused(16384, f"Cannot acquire image {image}, it is in state: DISABLED"):
        driving.vm(front_end, image)
    front_end.call("one.image.enable", image, True)
    driving.vm(front_end, image)


def test_a_vm_waits_for_an_image_that_is_not_there_yet(front_end: FrontEnd) -> None:
    front_end.control("slow", what="download", seconds=0.5)
    image = front_end.call("one.image.allocate", f'NAME="{driving.name("i")}"\nSIZE="4"\nTYPE="DATABLOCK"', 1)
    text = f'CPU="0.1"\nMEMORY="64"\nGUEST="none"\nDISK=[IMAGE_ID="{image}"]'
    vm = front_end.call("one.vm.allocate", text)
    assert driving.state(front_end, "vm", vm) == ("10", "0")
    assert driving.state(front_end, "image", image) == ("9", None)
    driving.wait(front_end, "vm", vm, driving.RUNNING)
    assert driving.xml(front_end, "vm", vm).findtext("TEMPLATE/DISK/SOURCE")


def test_clones_are_files_of_their_own(front_end: FrontEnd) -> None:
    image = driving.image(front_end)
    copy = front_end.call("one.image.clone", image, driving.name("copy"), -1)
    driving.wait(front_end, "image", copy, READY)
    found = [driving.xml(front_end, "image", number) for number in (image, copy)]
    sources = [Path(str(item.findtext("SOURCE"))) for item in found]
    assert sources[0] != sources[1]
    assert disks.content_sha256(sources[0], "qcow2") == disks.content_sha256(sources[1], "qcow2")
    assert driving.state(front_end, "image", image) == READY


@pytest.mark.both_versions
def test_deleting_the_image_of_a_saveas_frees_the_vm(front_end: FrontEnd, version: str) -> None:
    vm = driving.vm(front_end, driving.image(front_end))
    driving.act(front_end, "poweroff", vm, driving.POWEROFF)
    front_end.control("slow", what="saveas", seconds=0.5)
    saved = front_end.call("one.vm.disksaveas", vm, 0, driving.name("saved"), "", -1)
    if version == "7.4":
        with driving.refused(8192, "Image locked, use --force flag to remove the image."):
            front_end.call("one.image.delete", saved)
    front_end.call("one.image.delete", saved, *[True][: version == "7.4"])
    assert driving.state(front_end, "vm", vm) == driving.POWEROFF
    driving.until(lambda: driving.refusal(lambda: front_end.call("one.image.info", saved))[0] == 1024)
    driving.act(front_end, "resume", vm, driving.RUNNING)


def test_type_and_persistence_can_be_changed(front_end: FrontEnd) -> None:
    image = driving.image(front_end)
    front_end.call("one.image.chtype", image, "OS")
    front_end.call("one.image.persistent", image, True)
    found = driving.xml(front_end, "image", image)
    assert (found.findtext("TYPE"), found.findtext("PERSISTENT")) == ("0", "1")
    with driving.refused(2048, "Cannot change image type to an incompatible type"):
        front_end.call("one.image.chtype", image, "KERNEL")


@pytest.mark.parametrize(("text", "datastore", "code", "message"), [
    ('NAME="@"\nPATH="/var/tmp/none-such"', 1, 8192, "Cannot parse image SIZE: cannot access"),
    ('NAME="@"\nTYPE="CDROM"', 1, 8192, "Either PATH or SOURCE are required for CDROM"),
    ('NAME="@"\nTYPE="DATABLOCK"', 1, 8192, "Wrong number or missing SIZE attribute."),
    ('NAME="@"\nSIZE="1"', 0, 16384, "New images can only be allocated in a files or image datastore."),
    ('NAME="@"\nSIZE="999999999"', 1, 2048, "Not enough space in datastore"),
    ('NAME="@"\nSIZE="1"', 9999, 1024, "Error getting datastore [9999]."),
    ('NAME="@"\nFROM_APP="9999"', 1, 8192, "Cannot determine image SIZE."),
    ("NAME=[", 1, 8192, "Parse error: syntax error, unexpected $end"),
])
def test_what_is_no_image(front_end: FrontEnd, text: str, datastore: int, code: int, message: str) -> None:
    with driving.refused(code, message):
        front_end.call("one.image.allocate", text.replace("@", driving.name("i")), datastore)


def test_limited_datastores_fill_up(front_end: FrontEnd) -> None:
    text = f'NAME="{driving.name("small")}"\nTM_MAD="qcow2"\nDS_MAD="fs"\nLIMIT_MB="20"'
    datastore = front_end.call("one.datastore.allocate", text)
    image = driving.image(front_end, 12, datastore=datastore)
    with driving.refused(2048, "Not enough space in datastore"):
        driving.image(front_end, 12, datastore=datastore)
    vm = driving.vm(front_end, image)
    driving.act(front_end, "poweroff", vm, driving.POWEROFF)
    with driving.refused(2048, "[one.vm.disksaveas] Not enough space in datastore"):
        front_end.call("one.vm.disksaveas", vm, 0, driving.name("s"), "", -1)
    assert driving.state(front_end, "vm", vm) == driving.POWEROFF
    with driving.refused(2048, f"Cannot delete datastore. Datastore {datastore} is not empty."):
        front_end.call("one.datastore.delete", datastore)
