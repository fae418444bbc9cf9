# SPDX-License-Identifier: Apache-2.0
"""What the unit tests share: objects as real front-ends of 6.4 and 7.4 showed them, and restore points made of them.

The files under tests/data/objects are the values of recorded calls, untouched.
"""

from __future__ import annotations

import copy
from pathlib import Path

from lxml import etree

from onebackup_driver import app, catalogue, manifest, vm
from sandbox.core.template import Template

DATA = Path(__file__).resolve().parent / "data" / "objects"
VERSIONS = ("6.4", "7.4")
RUN = "0123456789abcdef0123456789abcdef"
TIME = 1795401518


def load(version: str, name: str) -> etree._Element:
    """A recorded object, e.g. `vm-running`."""
    return etree.parse(str(DATA / version / f"{name}.xml")).getroot()


def machine(version: str = "7.4", name: str = "vm-running", **changes: str) -> vm.VirtualMachine:
    """A recorded VM; `changes`: texts to set, `TEMPLATE__CPU="2"` for a path."""
    return vm.parse(changed(load(version, name), **changes))


def changed(element: etree._Element, **changes: str) -> etree._Element:
    """The element with some texts set; missing elements are made."""
    for path, value in changes.items():
        place = element
        for tag in path.split("__"):
            found = place.find(tag)
            place = etree.SubElement(place, tag) if found is None else found
        place.text = value
    return element


def stored(base: etree._Element, text: str, **changes: str) -> app.App:
    """A recorded app as it is shown after it was made with the template `text`, which oned's grammar must accept."""
    element = copy.deepcopy(base)
    old = element.find("TEMPLATE")
    assert old is not None
    parsed = Template.parse(text)
    element.replace(old, etree.fromstring(parsed.xml()))
    changes = {"NAME": parsed.get("NAME"), "APPTEMPLATE64": parsed.get("APPTEMPLATE64"), **changes}
    return app.parse(changed(element, **changes))


def restore_point_apps(
    version: str = "7.4",
    run: str = RUN,
    moment: int = TIME,
    first_id: int = 100,
    vm_changes: dict[str, str] | None = None,
    **tags: str,
) -> list[app.App]:
    """The apps of one restore point of the recorded VM, written by our own writers: two disks, then the VM."""
    saved_vm = machine(version, **(vm_changes or {}))
    name = f"web - BACKUP - {run}"
    apps, disks = [], []
    for number, disk in enumerate(item for item in saved_vm.disks if item.kind == vm.IMAGE):
        tag = manifest.tags(saved_vm, run, manifest.ROLE_DISK, moment)
        text = manifest.image_app(f"{name}-disk-{number}", load(version, "image-saved"), disk, version, tag)
        made = stored(load(version, "app-image-ready"), text, ID=str(first_id + number))
        apps.append(made)
        disks.append(manifest.SavedDisk(disk.disk_id, made.app_id, made.name, made.size_mb, made.md5, made.format))
    tag = {**manifest.tags(saved_vm, run, manifest.ROLE_VM, moment), "MODE": "POWEROFF", "CONSISTENCY": "OFF", **tags}
    text = manifest.vm_app(name, 'CPU="1"', version, tag, disks, saved_vm)
    apps.append(stored(load(version, "app-vmtemplate"), text, ID=str(first_id + len(disks))))
    return apps


def altered(made: app.App, **changes: str) -> app.App:
    """The app with some texts changed, read anew."""
    return app.parse(changed(copy.deepcopy(made.element), **changes))


def without(made: app.App, path: str) -> app.App:
    """The app without the elements at a path, read anew."""
    element = copy.deepcopy(made.element)
    for found in element.findall(path):
        parent = found.getparent()
        assert parent is not None
        parent.remove(found)
    return app.parse(element)


def points(*groups: list[app.App], trusted: frozenset[int] = frozenset({0})) -> list[catalogue.RestorePoint]:
    """The catalogue of some apps."""
    return catalogue.build([item for group in groups for item in group], set(trusted))
