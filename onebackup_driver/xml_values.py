# SPDX-License-Identifier: Apache-2.0
"""OpenNebula's XML objects as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional, Union

from lxml import etree

Vector = dict[str, str]
Attribute = tuple[str, Union[str, Vector]]


def text(element: etree._Element, path: str, default: str = "") -> str:
    """The text at `path`, or `default`."""
    return element.findtext(path) or default


def number(element: etree._Element, path: str, default: int = -1) -> int:
    """The whole number at `path`, or `default` when there is none."""
    value = whole_number(element.findtext(path) or "")
    return default if value is None else value


def whole_number(value: str) -> Optional[int]:
    """`" 42 "` -> 42; anything that is not a plain decimal number -> None."""
    value = value.strip()
    digits = value[1:] if value.startswith("-") else value
    return int(value) if digits.isascii() and digits.isdigit() and len(digits) < 19 else None


def vector(element: Optional[etree._Element]) -> Vector:
    """A vector attribute's values by name."""
    return {} if element is None else {str(child.tag): child.text or "" for child in _elements(element)}


def attributes(template: Optional[etree._Element]) -> list[Attribute]:
    """All attributes of a TEMPLATE or USER_TEMPLATE, in their order, repeated names included."""
    if template is None:
        return []
    return [(str(child.tag), vector(child) if len(child) else child.text or "") for child in _elements(template)]


def _elements(element: etree._Element) -> Iterable[etree._Element]:
    return (child for child in element if isinstance(child.tag, str))
