# SPDX-License-Identifier: Apache-2.0
"""setup.cfg names what is imported, so that an installation from nothing works."""
from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DISTRIBUTION_OF = {"yaml": "pyyaml", "botocore": "boto3"}  # where the import has another name


def declared(option: str) -> set[str]:
    """Distribution names of install_requires, or of an extra with those it refers to."""
    metadata = configparser.ConfigParser(interpolation=None)
    metadata.read(ROOT / "setup.cfg")
    section = "options" if option == "install_requires" else "options.extras_require"
    names = set()
    for line in metadata[section][option].split():
        if found := re.fullmatch(r"%\((\w+)\)s", line):
            names |= declared(found[1])
        elif found := re.match(r"[A-Za-z][\w.-]*", line):
            names.add(found[0].lower())
    return names


def third_party(folder: str) -> set[str]:
    """Distribution names of everything imported below a folder that is neither ours nor Python's."""
    own = set(getattr(sys, "stdlib_module_names", ())) | {"onebackup_driver", "sandbox", "tests", "bench"}
    found = set()
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add((node.module or "").split(".")[0])
    return {DISTRIBUTION_OF.get(name, name) for name in found - own}


@pytest.mark.skipif(sys.version_info < (3, 10), reason="this Python does not list its own modules")
@pytest.mark.parametrize(
    "folder, options",
    [
        ("onebackup_driver", ["install_requires"]),
        ("sandbox", ["install_requires", "sandbox"]),
        ("tests", ["install_requires", "test", "fuzz"]),
    ],
)
def test_what_is_imported_is_declared(folder: str, options: list[str]) -> None:
    assert third_party(folder) - set().union(*map(declared, options)) == set()
