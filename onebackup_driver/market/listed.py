# SPDX-License-Identifier: Apache-2.0
"""Every restore point as an app template, for a front-end that has lost its database, or another zone.

oned drops apps that are not listed (opennebula.md 2.2): all are listed or none, and none while an import is under way
whose app could not be listed yet.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onebackup_driver import files, manifest, names, paths, privacy, repositories, served, template_text, xml_values
from onebackup_driver.market import payload
from onebackup_driver.repository import problems
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.repository import Repository
from onebackup_driver.site_rules import Gateway
from onebackup_driver.xml_values import Attribute

#: Id of the user and of the group.
_ONEADMIN = 0
_FIELDS = ("NAME", "VERSION", "DESCRIPTION", "APPTEMPLATE64")
#: Attributes that belong to one front-end, or that oned would take for its own.
_LEFT_OUT = {*_FIELDS, "TYPE", "ERROR", "SOURCE", "MD5", "SIZE", "FORMAT", "ORIGIN_ID", "REGTIME", "MARKETPLACE_ID"}


def attributes(request: payload.Request) -> list[Attribute]:
    """What makes up an app again, but for where and what its disk is. oned makes it oneadmin's: what a tenant wrote
    must neither count as a restore point then, nor take the place of oneadmin's app of that name."""
    element, left_out = request.app_element, _LEFT_OUT
    fields: list[Attribute] = [(name, xml_values.text(element, name)) for name in _FIELDS]
    others = xml_values.attributes(element.find("TEMPLATE"))
    if _ONEADMIN not in (request.app.uid, request.app.gid):
        fields[0] = ("NAME", f"{names.safe(request.app.name, 100)} of user {request.app.uid}")
        left_out = {*_LEFT_OUT, "ONEBACKUP"}
    return fields + [("TYPE", "IMAGE")] + [item for item in others if item[0] not in left_out]


@contextmanager
def under_way(where: paths.Paths, opened: Repository) -> Iterator[None]:
    """An import holds this as long as its app cannot be listed. It keeps nobody out but `lines`."""
    descriptor = _open_lock(where, opened)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def lines(where: paths.Paths, opened: Repository, gateway: Gateway) -> list[str]:
    """The values of all APP lines; none when an import is under way. Raises Damaged, StoreFailed: then none either."""
    if _is_import_under_way(where, opened):
        return []
    made = list(opened.manifests())
    for item in made:
        if not served.has_good_facts(item):
            raise problems.Damaged(f"manifests/{item.name}", "what it says of its VM is not as it is written")
    disks = [item for item in made if item.facts.get("kind") == served.DISK]
    runs = [_run(item) for item in disks]
    texts = [template_text.render(_disk(opened, item, gateway)) for item in disks]
    texts += [_vm(item) for item in made if item.facts.get("kind") == served.VM and is_whole(item, runs)]
    return [manifest.encode(text) for text in texts]


def is_whole(made: Manifest, runs: list[str]) -> bool:
    """Whether all disks of a VM's restore point are there; `runs`: the run of each disk."""
    return runs.count(made.facts["run"]) >= int(made.facts["disks"]) > 0


def runs_of_disks(made: list[Manifest]) -> list[str]:
    """The run of each disk among these."""
    return [_run(item) for item in made if item.facts.get("kind") == served.DISK and served.has_good_facts(item)]


def _run(made: Manifest) -> str:
    tags: Any = dict(map(tuple, made.facts["app"])).get("ONEBACKUP", {})
    return str(tags.get("RUN", "")) if isinstance(tags, dict) else ""


def _disk(opened: Repository, made: Manifest, gateway: Gateway) -> list[Attribute]:
    found = served.attributes(opened, made, gateway)
    kept: list[Attribute] = [(str(name), value) for name, value in made.facts["app"]]
    return [*kept, ("ORIGIN_ID", "-1"), *found.items(), ("REGTIME", str(made.created)), (privacy.MARK, "YES")]


def _vm(made: Manifest) -> str:
    """The app's text as it was, and what oned's own apps have besides."""
    text = str(made.facts["text"])
    more: list[Attribute] = [("SIZE", "0"), ("MD5", ""), ("SOURCE", ""), ("FORMAT", "")]
    more += [("REGTIME", str(made.created)), (privacy.MARK, "YES")]
    if not text.startswith("<TEMPLATE>"):
        return f"{text}\n{template_text.render(more)}"
    return text.replace("<TEMPLATE>", "<TEMPLATE>" + "".join(f"<{name}>{value}</{name}>" for name, value in more), 1)


def _is_import_under_way(where: paths.Paths, opened: Repository) -> bool:
    descriptor = _open_lock(where, opened)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _open_lock(where: paths.Paths, opened: Repository) -> int:
    path = Path(where.locks) / f"repository-{repositories.identity(opened)}"
    files.make_private_directory(path.parent)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
