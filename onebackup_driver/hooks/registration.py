# SPDX-License-Identifier: Apache-2.0
"""Our hooks at the front-end: registered as `onehook create` would from the templates in share/hooks/.

A hook is ours by its name; its template says the rest. A call that a front-end does not know (one.vm.backup before 6.6)
has no hook there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from onebackup_driver import errors, template_text, xml_values
from onebackup_driver.frontend import FrontEnd
from onebackup_driver.xml_values import Vector

PREFIX = "onebackup_"
CREATED, UPDATED, EQUAL, REMOVED, SKIPPED, MISSING, DIFFERENT = (
    "created",
    "updated",
    "unchanged",
    "removed",
    "skipped",
    "missing",
    "different",
)
_LINE = re.compile(r'\s*([A-Za-z0-9_]+)\s*=\s*"([^"\\]*)"\s*\Z')
_UNKNOWN_CALL = "API call does not exist or is not supported"
#: What oned keeps apart from the template, or drops from it once it was read (src/hm/Hook.cc, HookStateVM.cc).
_NOT_STORED = ("NAME", "TYPE", "ON")
_DEFAULTS = {"REMOTE": "NO"}


@dataclass(frozen=True)
class Template:
    """A hook as it shall be: `attributes` by name, as in the file."""

    path: Path
    attributes: Vector

    @property
    def name(self) -> str:
        return self.attributes["NAME"]

    @property
    def stored(self) -> Vector:
        """The template as the front-end shows it afterwards."""
        return {**_DEFAULTS, **{key: value for key, value in self.attributes.items() if key not in _NOT_STORED}}


@dataclass(frozen=True)
class Change:
    """What was done, or with `check` found, about one hook."""

    name: str
    what: str
    detail: str = ""

    def __str__(self) -> str:
        return f"hook {self.name}: {self.what}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class _Registered:
    hook_id: int
    kind: str
    attributes: Vector


def templates(directory: Path) -> list[Template]:
    """The hooks whose templates (`onebackup_*.hook`) lie in the directory, by name. Raises UsageError."""
    found = [_read(path) for path in sorted(directory.glob(f"{PREFIX}*.hook"))]
    if not found:
        raise errors.UsageError(f"there is no hook template {PREFIX}*.hook in {directory}")
    return found


def register(front_end: FrontEnd, directory: Path) -> list[Change]:
    """Create what is missing, update what is different, remove ours of which there is no template any more.

    What is as it shall be is left alone. Raises UsageError, FrontEndError.
    """
    wanted, present = templates(directory), _present(front_end)
    changes = [_put(front_end, template, present.get(template.name)) for template in wanted]
    names = {template.name for template in wanted}
    return changes + [_remove(front_end, name, hook) for name, hook in present.items() if name not in names]


def unregister(front_end: FrontEnd) -> list[Change]:
    """Remove our hooks and no other."""
    return [_remove(front_end, name, hook) for name, hook in _present(front_end).items()]


def check(front_end: FrontEnd, directory: Path) -> list[Change]:
    """What `register` would find, changing nothing."""
    present = _present(front_end)
    return [Change(template.name, _state(template, present.get(template.name))) for template in templates(directory)]


def _put(front_end: FrontEnd, template: Template, hook: _Registered | None) -> Change:
    state = _state(template, hook)
    if state == EQUAL:
        return Change(template.name, EQUAL)
    if hook is not None and _same_kind(template, hook):
        text = template_text.render(list(template.stored.items()))
        front_end.repeat("one.hook.update", hook.hook_id, text, 0)
        return Change(template.name, UPDATED, f"id {hook.hook_id}")
    if hook is not None:
        front_end.repeat("one.hook.delete", hook.hook_id)
    return _create(front_end, template, CREATED if hook is None else UPDATED)


def _create(front_end: FrontEnd, template: Template, what: str) -> Change:
    text = template_text.render(list(template.attributes.items()))
    try:
        hook_id = int(front_end.call("one.hook.allocate", text))
    except errors.CallRefused as error:
        if _UNKNOWN_CALL in str(error):
            call = template.attributes.get("CALL", "")
            return Change(template.name, SKIPPED, f"this front-end does not have {call}")
        raise
    return Change(template.name, what, f"id {hook_id}")


def _remove(front_end: FrontEnd, name: str, hook: _Registered) -> Change:
    try:
        front_end.repeat("one.hook.delete", hook.hook_id)
    except errors.NoSuchObject:
        pass
    return Change(name, REMOVED, f"id {hook.hook_id}")


def _state(template: Template, hook: _Registered | None) -> str:
    if hook is None:
        return MISSING
    same = hook.kind == template.attributes["TYPE"].lower() and hook.attributes == template.stored
    return EQUAL if same else DIFFERENT


def _same_kind(template: Template, hook: _Registered) -> bool:
    """TYPE and RESOURCE are fixed when a hook is made."""
    return hook.kind == template.attributes["TYPE"].lower() and hook.attributes.get(
        "RESOURCE"
    ) == template.attributes.get("RESOURCE")


def _present(front_end: FrontEnd) -> dict[str, _Registered]:
    pool = front_end.element("one.hookpool.info", -2, -1, -1)
    return {
        xml_values.text(item, "NAME"): _Registered(
            xml_values.number(item, "ID"),
            xml_values.text(item, "TYPE").lower(),
            {key: value for key, value in xml_values.vector(item.find("TEMPLATE")).items() if key not in _NOT_STORED},
        )
        for item in pool.findall("HOOK")
        if xml_values.text(item, "NAME").startswith(PREFIX)
    }


def _read(path: Path) -> Template:
    attributes: Vector = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.match(line)
        if found is None:
            raise errors.UsageError(f'{path} line {number}: not NAME = "value"')
        attributes[found.group(1).upper()] = found.group(2)
    missing = {"NAME", "TYPE", "COMMAND"} - set(attributes)
    if missing or not attributes["NAME"].startswith(PREFIX):
        what = ", ".join(sorted(missing)) or f"a NAME that begins with {PREFIX}"
        raise errors.UsageError(f"{path}: {what} is missing")
    return Template(path, attributes)
