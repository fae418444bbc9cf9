# SPDX-License-Identifier: Apache-2.0
"""The one door for XML: no document type, so no entities of anybody's own, no network, and a limit in size.

lxml is told all that too, but entities inside attribute values are expanded by every parser that has read a document
type, and with `huge_tree` without limit. What OpenNebula writes begins with its root element.
"""

from __future__ import annotations

import re

from lxml import etree

_DECLARATION = re.compile(r"(?:<\?xml\s([^<>?]{0,200})\?>)?\s*(?=<[A-Za-z_])")
_OTHER_ENCODING = re.compile(r"encoding\s*=\s*[\"'](?!utf-8|us-ascii)", re.IGNORECASE)
#: OpenNebula's objects are less than ten deep; what is deeper was made to hurt.
_DEEPEST = 200


class Unreadable(ValueError):
    """It is not XML as OpenNebula writes it; the message says why in one line."""


def parse(text: str, limit_bytes: int, huge: bool = True) -> etree._Element:
    """The root element. Raises Unreadable. `huge`: single texts may be longer than 10 MB."""
    if len(text) > limit_bytes:
        raise Unreadable(f"it is larger than {limit_bytes} bytes")
    text = text.lstrip("\ufeff \t\r\n")
    begin = _DECLARATION.match(text)
    if begin is None:
        what = "it declares a document type" if "<!DOCTYPE" in text[:1000] else "it does not begin with an element"
        raise Unreadable(f"it is not well-formed as OpenNebula writes it: {what}")
    if _OTHER_ENCODING.search(begin.group(1) or ""):
        raise Unreadable("it says to be in another encoding than UTF-8")
    try:
        content = text[begin.end() :].encode("utf-8")
    except UnicodeEncodeError:
        raise Unreadable("it has characters that are none") from None
    try:
        root = etree.fromstring(content, _parser(huge))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Unreadable(f"it is not well-formed: {' '.join(str(error).split())[:160]}") from None
    if _too_deep(root):
        raise Unreadable(f"its elements are more than {_DEEPEST} deep")
    return root


def _parser(huge: bool) -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=huge,
        remove_comments=False, remove_pis=False,
    )  # fmt: skip


def _too_deep(root: etree._Element) -> bool:
    return bool(root.xpath(f"boolean(self::node(){'/*' * _DEEPEST})"))
