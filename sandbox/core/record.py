# SPDX-License-Identifier: Apache-2.0
"""One OpenNebula object: owner, rights, lock, template and the fields of its kind; JSON for the database."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, Optional

from sandbox.core.template import Template
from sandbox.core.xml_text import tag

RIGHTS = ("OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M", "OTHER_A")


@dataclass
class Record:
    """`fields` holds what only this kind has (JSON values); names of numbers are OpenNebula's in lower case."""

    kind: str
    id: int
    name: str
    uid: int = 0
    gid: int = 0
    uname: str = "oneadmin"
    gname: str = "oneadmin"
    rights: list[int] = field(default_factory=lambda: [1, 1, 0, 0, 0, 0, 0, 0, 0])
    lock: Optional[dict[str, int]] = None
    template: Template = field(default_factory=Template)
    fields: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.fields[key] = value

    def get(self, key: str, default: Any = None) -> Any:
        return self.fields.get(key, default)

    def numbers(self, key: str) -> list[int]:
        """A list of ids among the fields, created when missing."""
        found: list[int] = self.fields.setdefault(key, [])
        return found

    def dump(self) -> str:
        data = {key: value for key, value in self.__dict__.items() if key != "template"}
        return json.dumps({**data, "template": self.template.items})

    @classmethod
    def load(cls, text: str) -> Record:
        data = json.loads(text)
        data["template"] = Template([(name, value) for name, value in data["template"]])
        return cls(**data)

    def owner_xml(self) -> str:
        """<ID> to <GNAME>."""
        return (
            tag("ID", self.id) + tag("UID", self.uid) + tag("GID", self.gid)
            + tag("UNAME", self.uname) + tag("GNAME", self.gname)
        )

    def rights_xml(self) -> str:
        inner = "".join(tag(name, value) for name, value in zip(RIGHTS, self.rights))
        return tag("PERMISSIONS", inner)

    def lock_xml(self) -> str:
        if self.lock is None:
            return ""
        return tag("LOCK", "".join(tag(key, self.lock[key]) for key in ("LOCKED", "OWNER", "TIME", "REQ_ID")))


def add_id(numbers: list[int], number: int) -> None:
    if number not in numbers:
        numbers.append(number)


def remove_id(numbers: list[int], number: int) -> None:
    if number in numbers:
        numbers.remove(number)


def now() -> int:
    return int(time.time())
