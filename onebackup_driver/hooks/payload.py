# SPDX-License-Identifier: Apache-2.0
"""What the hook executor hands over (OpenNebula 6.0-7.4 src/hm/onehem-server.rb): words on argv, or all of them as one
line on stdin (ARGUMENTS_STDIN="yes"); one of them is the Base64 of XML, the others are literals.

It is a hint: whoever may call the API has a hand in it, and it is old when it arrives. CALL_INFO is not even always
XML: oned does not escape strings that came in (src/rm/Request.cc), so a user's text can close its own element and open
others. It is therefore never parsed as a tree: what oned wrote before the first such text (the result, the VM's id)
is taken from the beginning, and what it answered from the end.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, BinaryIO, Optional

from onebackup_driver import errors, xml_values

if TYPE_CHECKING:
    from lxml import etree

LIMIT_BYTES = 16 * 1024 * 1024
_RESULT = re.compile(r"\s*(?:<\?xml[^>]{0,200}\?>)?\s*<CALL_INFO>\s*<RESULT>\s*([^<]{0,20}?)\s*</RESULT>")
_PARAMETER = re.compile(
    r"<PARAMETER>\s*<POSITION>(\d{1,2})</POSITION>\s*<TYPE>(IN|OUT)</TYPE>\s*<VALUE>(.*?)</VALUE>\s*</PARAMETER>", re.S
)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.S)
_VM_ID = re.compile(r"\s*(?:<\?xml[^>]{0,200}\?>)?\s*<VM>\s*<ID>\s*(\d{1,9})\s*</ID>")


class Unusable(errors.UsageError):
    """The hook was not called as its template says."""


@dataclass(frozen=True)
class Payload:
    """`text`: the XML as it came; `literals`: the other words."""

    text: str
    literals: tuple[str, ...] = ()


@dataclass(frozen=True)
class CallInfo:
    """An API call that was carried out: whether it succeeded (None: unknown), what came in and went out by position."""

    success: Optional[bool]
    arguments: dict[int, str]
    results: dict[int, str]

    @property
    def object_id(self) -> Optional[int]:
        """The id the call was for, of calls that have it first; None when it is unknown."""
        return xml_values.whole_number(self.arguments.get(2, ""))

    @property
    def error_code(self) -> Optional[int]:
        return xml_values.whole_number(self.results.get(3, ""))


def read(words: list[str], stdin: BinaryIO) -> Payload:
    """The payload from the words after the command, or from stdin when there are none. Raises Unusable."""
    if not words:
        content = stdin.read(LIMIT_BYTES * 4 // 3 + 4096)
        words = content.decode("ascii", "replace").split()
    literals = []
    text = None
    for word in words:
        decoded = _decoded(word) if text is None else None
        if decoded is None:
            literals.append(word)
        else:
            text = decoded
    if text is None:
        raise Unusable(
            'no payload: the hook wants $API or $TEMPLATE in its ARGUMENTS and ARGUMENTS_STDIN="yes" (onehook show)'
        )
    return Payload(text, tuple(literals))


def call_info(payload: Payload) -> CallInfo:
    """What is known of the call; whatever cannot be found is missing. Never raises."""
    result = _RESULT.match(payload.text)
    arguments: dict[int, str] = {}
    results: dict[int, str] = {}
    for found in _PARAMETER.finditer(payload.text):
        position, value = int(found.group(1)), _plain(found.group(3))
        if found.group(2) == "IN":
            arguments.setdefault(position, value)
        else:
            results[position] = value
    return CallInfo({"1": True, "0": False}.get(result.group(1) if result else ""), arguments, results)


def vm_id(payload: Payload) -> Optional[int]:
    """The id of the VM whose XML it is; None when it is unknown."""
    found = _VM_ID.match(payload.text)
    return int(found.group(1)) if found else None


def tree(payload: Payload) -> Optional[etree._Element]:
    """The object's XML; None when it is not well-formed or holds a DTD. Entities are never resolved."""
    from lxml import etree

    if "<!DOCTYPE" in payload.text or "<!ENTITY" in payload.text:
        return None
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False
    )
    try:
        return etree.fromstring(payload.text.encode("utf-8"), parser)
    except (etree.XMLSyntaxError, ValueError):
        return None


def _decoded(word: str) -> Optional[str]:
    if len(word) > LIMIT_BYTES * 4 // 3 + 4:
        raise Unusable(f"the payload is larger than {LIMIT_BYTES} bytes")
    try:
        content = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        return None
    text = content.decode("utf-8", "replace").lstrip("\ufeff")
    return text if text.lstrip()[:1] == "<" else None


def _plain(value: str) -> str:
    """Text as it was before oned wrote it: CDATA opened, or entities of characters read."""
    inside = _CDATA.fullmatch(value.strip())
    return inside.group(1) if inside else unescape(value)
