# SPDX-License-Identifier: Apache-2.0
"""Our marketplace driver in oned.conf: a word in the list of MARKET_MAD and a MARKET_MAD_CONF block at the end.

Every other byte stays. oned reads the first MARKET_MAD only (src/market/MarketPlaceManager.cc) and knows no drop-in
files. Text is the file's bytes as latin-1: whatever encoding it has, it comes back the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from onebackup_driver import errors

DRIVER = "onebackup"
_BEGIN = "# onebackup's marketplace driver, added by its install.sh"
_END = "# end of onebackup's marketplace driver"
BLOCK = f"""
{_BEGIN}
MARKET_MAD_CONF = [
    NAME           = "{DRIVER}",
    SUNSTONE_NAME  = "onebackup repository",
    REQUIRED_ATTRS = "REPOSITORY",
    APP_ACTIONS    = "create, delete, monitor"
]
{_END}
"""
_STRING = r'"(?:[^"\\]|\\.)*"'
_COMMENT_OR_STRING = re.compile(rf'{_STRING}|(?<![^\s\],"])#[^\n]*', re.DOTALL)
_VECTOR = rf"(?im)^[ \t]*{{name}}\s*=\s*\[((?:{_STRING}|[^\]\"])*)\]"
_VALUE = rf"(?i)(?<![A-Za-z0-9_]){{name}}\s*=\s*({_STRING}|[^\s,\]]+)"
#: As one_market takes them (src/market_mad/one_market.rb).
_LIST = re.compile(r"(?:(?<=\s)|(?<=\")|^)(?:-m\s*|--market-types(?:\s+|=))(?!-)([^\s\"\\]+)")
_HAS_OPTION = re.compile(r"(?:^|[\s\"])(?:-m|--market-types)")


class NotUnderstood(errors.Failed):
    """The file has no MARKET_MAD that we could change safely."""


@dataclass(frozen=True)
class Edited:
    """The text, and which of our two changes it has from us: the word in the `list`, the `block`."""

    text: str
    list: bool
    block: bool


def add(text: str) -> Edited:
    """Put our driver in; what is there already stays as it is. Raises NotUnderstood."""
    position = _end_of_list(text)
    block = not _has_block(text)
    if position is not None:
        text = f"{text[:position]},{DRIVER}{text[position:]}"
    if block:
        text += BLOCK.replace("\n", "\r\n") if "\r\n" in text else BLOCK
    return Edited(text, position is not None, block)


def remove(text: str, from_list: bool) -> str:
    """Take our driver out: the block that is marked as ours, and the word in the list when it is from us."""
    pattern = rf"\r?\n{re.escape(_BEGIN)}\r?\n.*?{re.escape(_END)}(?:\r?\n|\Z)"
    text = re.sub(pattern, "", text, count=1, flags=re.DOTALL)
    found = _list(text) if from_list else None
    if found is None:
        return text
    names = found[0].split(",")
    if DRIVER not in [name.strip() for name in names]:
        return text
    kept = ",".join(name for name in names if name.strip() != DRIVER)
    return text[: found[1]] + kept + text[found[1] + len(found[0]) :]


def advice(text: str) -> list[str]:
    """The two lines to add by hand; none when the driver is there. Never raises."""
    try:
        position, known = _end_of_list(text), _list(text)
    except NotUnderstood:
        position, known = 0, None
    names = f"{known[0]},{DRIVER}" if known else f"...,{DRIVER}"
    lines = [] if position is None else [f'in MARKET_MAD:  ARGUMENTS = "... -m {names}"']
    if not _has_block(text):
        lines.append(
            f'at its end:     MARKET_MAD_CONF = [ NAME = "{DRIVER}", SUNSTONE_NAME = "onebackup repository",'
            ' REQUIRED_ATTRS = "REPOSITORY", APP_ACTIONS = "create, delete, monitor" ]'
        )
    return lines


def _end_of_list(text: str) -> Optional[int]:
    """Where our name goes; None when it is there, or when there is no list: then every driver is served."""
    found = _list(text)
    if found is None or DRIVER in [name.strip() for name in found[0].split(",")]:
        return None
    return found[1] + len(found[0].rstrip(","))


def _list(text: str) -> Optional[tuple[str, int]]:
    """The drivers of the first MARKET_MAD, and where they begin. Raises NotUnderstood."""
    plain = _without_comments(text)
    vector = re.search(_VECTOR.format(name="MARKET_MAD"), plain)
    if vector is None:
        raise NotUnderstood("oned.conf has no MARKET_MAD section")
    value = re.search(_VALUE.format(name="ARGUMENTS"), vector[1])
    if value is None:
        return None
    found = _LIST.search(value[1])
    if found is not None:
        return found[1], vector.start(1) + value.start(1) + found.start(1)
    if _HAS_OPTION.search(value[1]):
        raise NotUnderstood(f"the list of drivers in MARKET_MAD of oned.conf is not understood: {value[1][:80]}")
    return None


def _has_block(text: str) -> bool:
    for vector in re.finditer(_VECTOR.format(name="MARKET_MAD_CONF"), _without_comments(text)):
        name = re.search(_VALUE.format(name="NAME"), vector[1])
        if name is not None and name[1].strip('"') == DRIVER:
            return True
    return False


def _without_comments(text: str) -> str:
    """The text with comments made blank: every position stays."""
    return _COMMENT_OR_STRING.sub(lambda found: found[0] if found[0][0] == '"' else " " * len(found[0]), text)
