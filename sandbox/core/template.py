# SPDX-License-Identifier: Apache-2.0
"""A template: oned's ordered multimap of single and vector attributes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Optional

from lxml import etree

from sandbox.core import template_text, xml_text
from sandbox.core.template_text import TemplateSyntax, Value

Items = list[tuple[str, Value]]


class Template:
    """Attributes keep their insertion order among equal names; the XML form is sorted by name as oned's map is."""

    def __init__(self, items: Optional[Items] = None) -> None:
        self.items: Items = list(items or [])

    @classmethod
    def parse(cls, text: str) -> Template:
        """From the text or the XML form. Raises TemplateSyntax with oned's message."""
        if text.startswith("<"):
            return cls.from_xml(text)
        return cls(template_text.parse(text))

    @classmethod
    def from_xml(cls, text: str) -> Template:
        try:
            root = etree.fromstring(text.encode())
        except etree.XMLSyntaxError:
            raise TemplateSyntax("Parse error: XML Template malformed.") from None
        return cls([(child.tag.upper(), _element_value(child)) for child in root if isinstance(child.tag, str)])

    def copy(self) -> Template:
        return Template([(name, value if isinstance(value, str) else dict(value)) for name, value in self.items])

    def get(self, name: str, default: str = "") -> str:
        """The first single value of that name."""
        for key, value in self.items:
            if key == name and isinstance(value, str):
                return value
        return default

    def number(self, name: str, default: int = -1) -> int:
        try:
            return int(self.get(name))
        except ValueError:
            return default

    def has(self, name: str) -> bool:
        return any(key == name for key, _ in self.items)

    def vectors(self, name: str) -> list[dict[str, str]]:
        """The vectors of that name, to read or to change in place."""
        return [value for key, value in self.items if key == name and isinstance(value, dict)]

    def vector(self, name: str) -> Optional[dict[str, str]]:
        found = self.vectors(name)
        return found[0] if found else None

    def set(self, name: str, value: Value) -> None:
        self.remove(name)
        self.items.append((name, value))

    def add(self, name: str, value: Value) -> None:
        self.items.append((name, value))

    def remove(self, name: str) -> list[Value]:
        removed = [value for key, value in self.items if key == name]
        self.items = [item for item in self.items if item[0] != name]
        return removed

    def take(self, name: str, default: str = "") -> str:
        """Removes the attribute and returns its value (what allocation does with NAME, TYPE, SIZE …)."""
        value = self.get(name, default)
        self.remove(name)
        return value

    def merge(self, other: Template) -> None:
        """oned's append: every name in `other` replaces all attributes of that name here."""
        for name in dict.fromkeys(name for name, _ in other.items):
            self.remove(name)
        self.items.extend(other.copy().items)

    def set_error(self, message: str, separator: str = " : ") -> None:
        """ERROR as oned writes it: ctime, separator, message."""
        self.set("ERROR", f"{time.ctime()}{separator}{message}")

    def sorted(self) -> Iterator[tuple[str, Value]]:
        return iter(sorted(self.items, key=lambda item: item[0]))

    def xml(self, root: str = "TEMPLATE") -> str:
        return f"<{root}>" + "".join(attribute_xml(name, value) for name, value in self.sorted()) + f"</{root}>"

    def storable(self) -> bool:
        return all(
            xml_text.storable(text)
            for _, value in self.items
            for text in ([value] if isinstance(value, str) else value.values())
        )


def attribute_xml(name: str, value: Value) -> str:
    if isinstance(value, str):
        return xml_text.cdata(name, value)
    if not value:
        return f"<{name}></{name}>"
    return f"<{name}>" + "".join(xml_text.cdata(key, value[key]) for key in sorted(value)) + f"</{name}>"


def _element_value(element: etree._Element) -> Value:
    children = [child for child in element if isinstance(child.tag, str)]
    if not children:
        return element.text or ""
    return {child.tag.upper(): child.text or "" for child in children}
