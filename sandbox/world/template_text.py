# SPDX-License-Identifier: Apache-2.0
"""Read the little template text that drivers print: single attributes only, repeated names kept."""
from __future__ import annotations

import re

_ATTRIBUTE = re.compile(r'([A-Za-z_]\w*)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s"\[\]]+))', re.S)
_ESCAPE = re.compile(r'\\(["\\])')


def parse(text: str) -> dict[str, list[str]]:
    """Return the values by upper-case name, in the order of the text. What is no attribute is skipped."""
    values: dict[str, list[str]] = {}
    for name, quoted, plain in _ATTRIBUTE.findall(text):
        values.setdefault(name.upper(), []).append(plain or _ESCAPE.sub(r"\1", quoted))
    return values


def quote(value: object) -> str:
    """Return a value as a quoted template string."""
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
