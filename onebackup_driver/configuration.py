# SPDX-License-Identifier: Apache-2.0
"""onebackup.yaml: every option with its default is in etc/onebackup.yaml; an unknown key or a bad value is an error."""

from __future__ import annotations

import re
import reprlib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from onebackup_driver import errors, window
from onebackup_driver.site_rules import MODES, Configuration, terminated_rule

_NOTHING = "tag:yaml.org,2002:null"
_LONGEST = 2**31 - 1
_LIMIT_BYTES = 1024 * 1024
#: What PyYAML raises for values such as `!!bool maybe`, `2026-99-99` and `!!int ""`.
_BAD_VALUE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
_CONTROLS = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_MAY_BE_ZERO = ("per_owner", "time_budget_minutes", "jitter_minutes", "opportunistic_fraction")
_CHOICES = {
    "verify": ("length", "checksum"),
    "app_owner": ("oneadmin", "vm_owner"),
    "native_backup_calls": ("due", "always", "never"),
}


def load(path: Path) -> Configuration:
    """Read the file; a missing one means all defaults. Raises UsageError naming file, line, key and reason."""
    try:
        with open(path, "rb") as stream:
            text = stream.read(_LIMIT_BYTES + 1).decode("utf-8")
    except FileNotFoundError:
        return Configuration()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"cannot read the configuration {path}: {error}") from error
    return parse(text, str(path))


def parse(text: str, where: str) -> Configuration:
    """The configuration in `text`; `where` names it in errors."""
    if len(text) > _LIMIT_BYTES:
        raise errors.UsageError(f"{where}: larger than {_LIMIT_BYTES} bytes")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise errors.UsageError(f"{where}: not valid YAML: {' '.join(str(error).split())[:300]}") from error
    if node is None or node.tag == _NOTHING:
        return Configuration()
    filled: Configuration = _fill(Configuration, node, where)
    return filled


def _fill(kind: type, node: yaml.Node, where: str, prefix: str = "") -> Any:
    if not isinstance(node, yaml.MappingNode):
        raise errors.UsageError(
            f"{where} line {node.start_mark.line + 1}: {prefix or 'the file'} must be 'key: value' lines"
        )
    defaults = {item.name: getattr(kind(), item.name) for item in fields(kind)}
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value)[:60], key_node.start_mark.line + 1
        place = f"{where} line {line}: {prefix}{key}"
        if key not in defaults:
            raise errors.UsageError(f"{place} is not an option of onebackup (options: {', '.join(sorted(defaults))})")
        if key in values:
            raise errors.UsageError(f"{place} is there twice")
        values[key] = _value(key, defaults[key], value_node, where, place)
    return kind(**values)


def _value(key: str, default: Any, node: yaml.Node, where: str, place: str) -> Any:
    if is_dataclass(default):
        return _fill(type(default), node, where, f"{key}.")
    try:
        value = yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, *_BAD_VALUE) as error:
        raise errors.UsageError(f"{place} has an unusable value: {' '.join(str(error).split())[:300]}") from error
    problem = _problem(key, default, value)
    if problem:
        raise errors.UsageError(f"{place} {problem}, not {_shown(value)}")
    return float(value) if isinstance(default, float) else value


def _shown(value: Any) -> str:
    """A value for a message: aliases can make one of a few hundred bytes endless."""
    short = reprlib.Repr()
    short.maxlevel = 2
    return short.repr(value)[:200]


def _problem(key: str, default: Any, value: Any) -> str:
    if key in _CHOICES:
        return "" if value in _CHOICES[key] else f"must be one of {', '.join(_CHOICES[key])}"
    if key == "mode":
        modes = value.upper().replace(" ", "").split(",") if isinstance(value, str) else [""]
        return "" if set(modes) <= set(MODES) else f"must be one or more of {', '.join(MODES)}, with commas"
    if key == "terminated_vms":
        good = isinstance(value, str) and terminated_rule(value) is not None
        return "" if good else "must be keep, keep N days or delete"
    if key == "state_directory":
        good = isinstance(value, str) and (not value or value.startswith("/")) and not _CONTROLS.search(value)
        return "" if good else "must be text, an absolute path"
    if isinstance(default, list):
        item_type = int if key == "allowed_marketplaces" else str
        good = isinstance(value, list) and all(type(item) is item_type for item in value)
        return "" if good else f"must be a list of {'ids' if item_type is int else 'names'}"
    if isinstance(default, (int, float)):
        return _number_problem(key, default, value)
    return _text_problem(key, value) if isinstance(value, str) else "must be text"


def _number_problem(key: str, default: float, value: Any) -> str:
    kinds = (int, float) if isinstance(default, float) or key.endswith("_s") else (int,)
    if key in _MAY_BE_ZERO:
        return "" if type(value) in kinds and 0 <= value <= _LONGEST else "must be a number, 0 or above"
    return "" if type(value) in kinds and 0 < value <= _LONGEST else "must be a number above 0"


def _text_problem(key: str, value: str) -> str:
    if _CONTROLS.search(value):
        return "must be text without line ends and control characters"
    try:
        if key == "window":
            window.parse(value)
        elif key == "time_zone":
            window.parse("", value)
    except window.Bad as error:
        return f"must be one, or empty: {error}"
    return ""
