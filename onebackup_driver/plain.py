# SPDX-License-Identifier: Apache-2.0
"""Other people's text on a terminal, in a log, in a mail: one line stays one line and moves no cursor.

Names of VMs, marketplaces and users, attributes and error texts of the front-end come from whoever could write them.
Line ends, terminal control sequences (also the one-character ones, U+0080 to U+009F) and marks that turn the direction
of writing are shown as what they are: `\\x1b`, `\\u202e`. Letters of all scripts stay.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any

_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
_BREAKS = re.compile("[\t-\r\x1c-\x1f\x85\u2028\u2029]+ *")
_SHOWN = re.compile(f"[{_CONTROLS}\U000e0000-\U000e007f]")


def line(text: str) -> str:
    """The text as one line: line ends and tabs become a blank, all other controls are shown as escapes."""
    return _SHOWN.sub(_escaped, _BREAKS.sub(" ", text.strip("\t\n\v\f\r")))


def document(value: Any, indent: int = 2) -> str:
    """`value` as JSON for a program or a person; nothing in it can control a terminal."""
    return _SHOWN.sub(_json_escaped, json.dumps(value, indent=indent, ensure_ascii=False))


def make_forgiving(*streams: Any) -> None:
    """Let these outputs show what their encoding does not have as escapes: a VM's name is no reason to end a backup."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _json_escaped(found: re.Match[str]) -> str:
    return json.dumps(found.group())[1:-1] if ord(found.group()) != 0x7F else "\\u007f"
