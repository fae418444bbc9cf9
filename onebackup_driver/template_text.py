# SPDX-License-Identifier: Apache-2.0
"""The one writer of OpenNebula template text.

Grammar: src/parsers/template_parser.l and template_syntax.y. Inside a quoted value only `\\"` is an escape, so a value
that ends in a backslash, and attribute names with other characters than letters, digits and _, cannot be said in
text; the whole template is then said in its XML form, which oned accepts wherever it accepts text (Template.cc
parse_str_or_xml). `]]>` can be said in neither and would break every later answer of oned: it is broken up.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Union

from onebackup_driver import plain
from onebackup_driver.xml_values import Attribute, Vector

_NAME = re.compile(r"[A-Za-z0-9_]+\Z")
_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*\Z")
#: Characters that XML 1.0 does not have: they would make the call itself ill-formed.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def render(attributes: Iterable[Attribute]) -> str:
    """Template text for the attributes, in their order; values are written so that oned reads them back unchanged."""
    cleaned = [(name, _clean_value(value)) for name, value in attributes if _XML_NAME.match(name) or _NAME.match(name)]
    if all(_fits_text(name, value) for name, value in cleaned):
        return "\n".join(_text(name, value) for name, value in cleaned)
    body = "".join(_xml(name, value) for name, value in cleaned if _XML_NAME.match(name))
    return f"<TEMPLATE>{body}</TEMPLATE>"


def clean(value: str) -> str:
    """The value without what OpenNebula cannot store, and with the line ends that XML readers make of all others."""
    return _NOT_XML.sub("", value.replace("\r\n", "\n").replace("\r", "\n")).replace("]]>", "]] >")


def one_line(value: str, length: int = 400) -> str:
    """Free text for a template: one line, cleaned, cut to `length` characters."""
    return clean(plain.line(" ".join(value.split())))[:length]


def _clean_value(value: Union[str, Vector]) -> Union[str, Vector]:
    if isinstance(value, str):
        return clean(value)
    return {key: clean(item) for key, item in value.items() if _XML_NAME.match(key) or _NAME.match(key)}


def _fits_text(name: str, value: Union[str, Vector]) -> bool:
    names, values = ([name], [value]) if isinstance(value, str) else ([name, *value], list(value.values()))
    return all(_NAME.match(item) for item in names) and not any(item.endswith("\\") for item in values)


def _text(name: str, value: Union[str, Vector]) -> str:
    if isinstance(value, str):
        return f"{name}={_quote(value)}"
    inside = ",\n  ".join(f"{key}={_quote(item)}" for key, item in value.items())
    return f"{name}=[\n  {inside} ]" if inside else f"{name}=[]"


def _quote(value: str) -> str:
    return '"' + value.replace('"', '\\"') + '"'


def _xml(name: str, value: Union[str, Vector]) -> str:
    if isinstance(value, str):
        return f"<{name}>{_escape(value)}</{name}>"
    inside = "".join(f"<{key}>{_escape(item)}</{key}>" for key, item in value.items() if _XML_NAME.match(key))
    return f"<{name}>{inside}</{name}>"


def _escape(text: str) -> str:
    """As xml.sax.saxutils.escape, which loads an HTTP client: a tenth of the time of a hook or a driver."""
    return html.escape(text, quote=False)
