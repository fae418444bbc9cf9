# SPDX-License-Identifier: Apache-2.0
"""Writing OpenNebula's XML: plain elements, CDATA elements, id lists."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lxml import etree

ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def tag(name: str, text: object) -> str:
    """An element whose text the caller knows to be harmless (numbers, names)."""
    return f"<{name}>{text}</{name}>"


def cdata(name: str, text: str) -> str:
    return f"<{name}><![CDATA[{text}]]></{name}>"


def ids(name: str, numbers: Iterable[int]) -> str:
    """An ID list such as <VMS><ID>1</ID></VMS>, in ascending order as oned keeps its sets."""
    return f"<{name}>" + "".join(tag("ID", number) for number in sorted(numbers)) + f"</{name}>"


def storable(text: str) -> bool:
    """Whether oned could store this value: its own XML must stay well formed (no `]]>`, no control characters)."""
    return "]]>" not in text and not ILLEGAL.search(text)


def pretty(text: str) -> str:
    """The document as Nokogiri prints it: indented, empty elements closed, broken XML repaired."""
    parser = etree.XMLParser(recover=True, strip_cdata=False, remove_blank_text=True, huge_tree=True)
    root = etree.fromstring(text.encode(), parser)
    return etree.tostring(root, pretty_print=True, encoding="unicode").rstrip("\n") if root is not None else ""
