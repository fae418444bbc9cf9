# SPDX-License-Identifier: Apache-2.0
"""Imports point down the layers only, and each kind of I/O has one door.

A new module of the package goes into LAYERS (or into a family folder that is there); one that is in
neither fails the first test below.
"""
from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "onebackup_driver"

# Lowest first. A module may import its own layer and all layers below.
LAYERS: dict[str, set[str]] = {
    "foundation": {
        "", "errors", "json_text", "plain", "repository/extent", "repository/problems", "s3_access", "site_rules",
        "units", "window", "xml_text",
    },
    "edges": {
        "clock", "commands", "configuration", "context", "files", "frontend", "journal", "locks", "logs",
        "paths", "privileges", "progress", "queue", "repository/stores/", "scratch", "signals", "stored_file",
        "stored_object", "waiting", "worker", "xml_rpc",
    },
    "core": {
        "acl", "app", "catalogue", "choosing", "disguises", "explaining", "manifest", "modes", "names", "networks",
        "policy", "pool_vm", "records", "repository/format/", "restore_template", "retention", "retry",
        "s3_marketplace", "seal", "schedule", "states", "template_text", "verdict", "vm", "xml_values",
    },
    "steps": {
        "children", "cloud", "entitlement", "failures", "finishing", "gateway/", "granted", "images", "judging",
        "kept_vm", "leader", "planner", "planning", "pool", "power", "privacy", "publish", "reborn", "repositories",
        "repository/", "sagas", "saving",
        "offered", "served", "source", "status", "temporaries", "trust", "undo", "unpacking", "verifying",
    },
    "stories": {"backup", "listing", "overview", "recover", "restore", "serving", "strays", "terminated", "timer"},
    "actions": {"cli/", "doctor/", "hooks/", "installation/", "market/"},
}  # fmt: skip
ORDER = list(LAYERS)

# Where each of these may be imported at all.
ONLY_IMPORTERS = {"pyone": {"frontend"}, "subprocess": {"commands"}}
# The core decides; it neither reads nor writes, and `now` is an argument.
IMPURE = {
    "asyncio", "boto3", "fcntl", "glob", "http", "io", "multiprocessing", "os", "pathlib", "pyone",
    "requests", "select", "shutil", "signal", "socket", "sqlite3", "subprocess", "sys", "tempfile",
    "threading", "time", "urllib.request", "xmlrpc", "yaml",
}  # fmt: skip
IMPURE_CALLS = {"open", "input", "print", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


@dataclass(frozen=True)
class Import:
    """One imported module, absolute: `from a import b` counts as a.b when that is a module of the project."""

    name: str
    line: int


def modules(package: str) -> dict[str, Path]:
    """All modules of a package: name below it ("" for its __init__, "cli/main") -> file."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT / package).with_suffix("").as_posix()
        found["" if name == "__init__" else name.removesuffix("/__init__")] = path
    return found


@functools.cache
def imports(path: Path, root: Path = ROOT) -> list[Import]:
    """Every import of a file, also those inside functions and under TYPE_CHECKING."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute_base(node, path, root)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.append(Import(whole if is_module(whole, root) else base, node.lineno))
    return found


def absolute_base(node: ast.ImportFrom, path: Path, root: Path) -> str:
    if not node.level:
        return node.module or ""
    above = path.relative_to(root).parts[: -node.level]
    return ".".join([*above, *([node.module] if node.module else [])])


def is_module(name: str, root: Path) -> bool:
    base = root.joinpath(*name.split("."))
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()


def layer_of(module: str) -> str | None:
    """The layer of a module of the package, or None for one that nobody has given a layer."""
    for layer, members in LAYERS.items():
        if not members.isdisjoint({module, f"{module}/", *(f"{folder}/" for folder in PurePosixPath(module).parents)}):
            return layer
    return None


def own_module(name: str) -> str | None:
    """`onebackup_driver.cli.main` -> `cli/main`; None for anything outside the package."""
    if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
        return None
    return name[len(PACKAGE) + 1 :].replace(".", "/")


def upward_imports() -> list[str]:
    wrong = []
    for module, path in modules(PACKAGE).items():
        layer = layer_of(module)
        for imported in imports(path):
            target = own_module(imported.name)
            target_layer = None if target is None else layer_of(target)
            if layer and target_layer and ORDER.index(target_layer) > ORDER.index(layer):
                wrong.append(f"{path}:{imported.line}: {layer} imports {target} of {target_layer}")
    return wrong


def begins_with(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def calls(path: Path) -> list[tuple[str, int, ast.Call]]:
    """Every call of a file: the last two parts of what is called, its line, the node."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Call):
            name = ".".join(ast.unparse(node.func).split(".")[-2:])
            found.append((name, node.lineno, node))
    return found


def python_files() -> list[Path]:
    folders = (PACKAGE, "sandbox", "remotes", "share", "bench", "tests")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_module_has_a_layer() -> None:
    assert [module for module in modules(PACKAGE) if layer_of(module) is None] == []


def test_imports_point_down_the_layers() -> None:
    assert upward_imports() == []


def test_the_package_and_the_sandbox_do_not_know_each_other() -> None:
    wrong = [
        f"{path}:{imported.line}: imports {imported.name}"
        for package, other in ((PACKAGE, "sandbox"), ("sandbox", PACKAGE))
        for path in modules(package).values()
        for imported in imports(path)
        if begins_with(imported.name, {other, "tests"})
    ]
    assert wrong == []


def test_the_core_does_no_input_or_output() -> None:
    core = {module: path for module, path in modules(PACKAGE).items() if layer_of(module) == "core"}
    wrong = [
        f"{path}:{imported.line}: imports {imported.name}"
        for path in core.values()
        for imported in imports(path)
        if begins_with(imported.name, IMPURE) or layer_of(own_module(imported.name) or "") == "edges"
    ]
    wrong += [
        f"{path}:{line}: calls {name}()"
        for path in core.values()
        for name, line, _ in calls(path)
        if name in IMPURE_CALLS
    ]
    assert wrong == []


@pytest.mark.parametrize("library", sorted(ONLY_IMPORTERS))
def test_each_dangerous_library_has_one_door(library: str) -> None:
    importers = {
        module
        for module, path in modules(PACKAGE).items()
        if any(begins_with(imported.name, {library}) for imported in imports(path))
    }
    assert importers <= ONLY_IMPORTERS[library]


def test_no_command_goes_through_a_shell() -> None:
    wrong = [
        f"{path}:{line}: {name}"
        for path in python_files()
        for name, line, node in calls(path)
        if name in {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
        or any(word.arg == "shell" and not is_false(word.value) for word in node.keywords)
    ]
    assert wrong == []


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize(
    "source, expected",
    [
        ("import onebackup_driver.cli.main", ["onebackup_driver.cli.main"]),
        ("from onebackup_driver import policy, VERSION", ["onebackup_driver.policy", "onebackup_driver"]),
        ("from .policy import due", ["onebackup_driver.policy"]),
        ("def f():\n    from . import policy", ["onebackup_driver.policy"]),
        ("from ..elsewhere import x", ["elsewhere"]),
    ],
)
def test_imports_are_read_in_every_form(tmp_path: Path, source: str, expected: list[str]) -> None:
    package = tmp_path / PACKAGE
    package.mkdir()
    (package / "policy.py").touch()
    reader = package / "reader.py"
    reader.write_text(source)
    assert [imported.name for imported in imports(reader, tmp_path)] == expected
