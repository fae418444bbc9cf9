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
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING, BinaryIO, Optional

from onebackup_driver import errors, xml_values

if TYPE_CHECKING:
    from lxml import etree

LIMIT_BYTES = 16 * 1024 * 1024
_RESULT = re.compile(r"(?:<\?xml[^>]{0,200}\?>)?\s*<CALL_INFO>\s*<RESULT>([^<]{0,20})</RESULT>")
_PARAMETER = re.compile(r"<PARAMETER>\s*<POSITION>([0-9]{1,2})</POSITION>\s*<TYPE>(IN|OUT)</TYPE>\s*<VALUE>")
_PARAMETER_END = re.compile(r"</VALUE>\s*</PARAMETER>")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.S)
_VM_ID = re.compile(r"(?:<\?xml[^>]{0,200}\?>)?\s*<VM>\s*<ID>\s*([0-9]{1,9})\s*</ID>")


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
    for kind, position, value in _parameters(payload.text):
        if kind == "IN":
            arguments.setdefault(position, value)
        else:
            results[position] = value
    return CallInfo({"1": True, "0": False}.get(result.group(1).strip() if result else ""), arguments, results)


def _parameters(text: str) -> Iterator[tuple[str, int, str]]:
    """Kind, position and value of each; in one pass, however many a user's text begins and does not end."""
    head = _PARAMETER.search(text)
    while head is not None:
        end = _PARAMETER_END.search(text, head.end())
        if end is None:
            return
        yield head.group(2), int(head.group(1)), _plain(text[head.end() : end.start()])
        head = _PARAMETER.search(text, end.end())


def vm_id(payload: Payload) -> Optional[int]:
    """The id of the VM whose XML it is; None when it is unknown."""
    found = _VM_ID.match(payload.text)
    return int(found.group(1)) if found else None


def tree(payload: Payload) -> Optional[etree._Element]:
    """The object's XML; None when it is not well-formed or holds a DTD. Entities are never resolved."""
    from onebackup_driver import xml_text

    try:
        return xml_text.parse(payload.text, LIMIT_BYTES, huge=False)
    except xml_text.Unreadable:
        return None


def _decoded(word: str) -> Optional[str]:
    if len(word) > LIMIT_BYTES * 4 // 3 + 4:
        raise Unusable(f"the payload is larger than {LIMIT_BYTES} bytes")
    try:
        content = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        return None
    text = content.decode("utf-8", "replace").lstrip("\ufeff").lstrip()
    return text if text[:1] == "<" else None


def _plain(value: str) -> str:
    """Text as it was before oned wrote it: CDATA opened, or entities of characters read."""
    inside = _CDATA.fullmatch(value.strip())
    try:
        return inside.group(1) if inside else unescape(value)
    except ValueError:
        return value  # a character whose number has thousands of digits
