# SPDX-License-Identifier: Apache-2.0
"""Marketplace drivers, run as one_market does (opennebula.md section 2).

`remotes/market/<mad>/<action>` where it exists, else our own http and s3 (drivers/), as processes too:
argv = path, base64 of the request, id; stdin empty; the environment of processes.oneadmin_environment().
"""
from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from sandbox.world import processes, template_text
from sandbox.world.datastore_drivers import ImportInfo
from sandbox.world.errors import DriverFailed

__all__ = ["DriverFailed", "ImportResult", "MonitorResult", "available", "delete_app", "import_app", "monitor"]

BUILT_IN = ("http", "s3")
_ROOT_END = b"</MARKET_DRIVER_ACTION_DATA>"
_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ImportResult:
    """What an import leaves on the app."""

    source: str
    md5: str
    size_mb: int
    format: str


@dataclass(frozen=True)
class MonitorResult:
    """A market's size, None where the driver did not say, and its apps as base64 templates."""

    used_mb: int
    free_mb: int
    total_mb: int
    app_templates: list[str] = field(default_factory=list)


def available(remotes: Path) -> set[str]:
    """Return the names of the drivers that can be used."""
    market = remotes / "market"
    found = {entry.name for entry in market.iterdir() if entry.is_dir()} if market.is_dir() else set()
    return found.union(BUILT_IN)


def with_import_info(request_xml: bytes, info: ImportInfo) -> bytes:
    """Return an IMPORT request with what the datastore's export said, appended as one_market does."""
    values = {
        "IMPORT_SOURCE": info.import_source, "MD5": info.md5, "SIZE": info.size_mb, "FORMAT": info.format,
        "DISPOSE": info.dispose, "DISPOSE_CMD": info.dispose_command,
    }
    added = "".join(_element(name, str(value)) for name, value in values.items())
    head, end, tail = request_xml.rpartition(_ROOT_END)
    return head + added.encode() + end + tail


def import_app(
    mad: str, remotes: Path, request_xml: bytes, app_id: int, *, environment: Mapping[str, str],
    version: str = "7.4",
) -> ImportResult:
    """Run an import; `request_xml` already holds the import info (with_import_info).

    Raises DriverFailed with the text of the app's ERROR attribute.
    """
    prefix = "Error importing app into marketplace"
    done = _run(mad, "import", remotes, request_xml, app_id, environment)
    if done.return_code != 0:
        raise DriverFailed(f"{prefix}: {processes.failure_message(done.stderr, version)}")
    values = {name: found[-1] for name, found in template_text.parse(done.stdout).items()}
    source, md5, format = (values.get(name, "") for name in ("SOURCE", "MD5", "FORMAT"))
    size = values.get("SIZE", "")
    if not (source and md5 and format and size.isdigit()):
        raise DriverFailed(f"{prefix}. Missing app attributes.")
    return ImportResult(source, md5, int(size), format)


def delete_app(
    mad: str, remotes: Path, request_xml: bytes, app_id: int, *, environment: Mapping[str, str],
    version: str = "7.4",
) -> None:
    """Run a delete. Raises DriverFailed with the log line; oned drops the app all the same."""
    done = _run(mad, "delete", remotes, request_xml, app_id, environment)
    if done.return_code != 0:
        reason = processes.failure_message(done.stderr, version)
        detail = "" if reason.startswith("-") else f": {reason}"
        raise DriverFailed(f"Error removing app from marketplace{detail}.")


def monitor(
    mad: str, remotes: Path, request_xml: bytes, market_id: int, *, environment: Mapping[str, str],
    version: str = "7.4",
) -> MonitorResult:
    """Run a monitor. Raises DriverFailed with the log line; the market then keeps its old numbers."""
    done = _run(mad, "monitor", remotes, request_xml, market_id, environment)
    if done.return_code != 0:
        reason = processes.failure_message(done.stderr, version)
        raise DriverFailed(f"Error monitoring marketplace {market_id}: {reason}")
    values = template_text.parse(done.stdout)
    used, free, total = (_number(values, name) for name in ("USED_MB", "FREE_MB", "TOTAL_MB"))
    return MonitorResult(used, free, total, values.get("APP", []))


def _run(
    mad: str, action: str, remotes: Path, request_xml: bytes, identity: int, environment: Mapping[str, str]
) -> processes.Completed:
    request = base64.b64encode(request_xml).decode()
    directory = Path(environment["HOME"])
    script = remotes / "market" / mad / action
    if not script.exists() and mad in BUILT_IN:
        argv = [sys.executable, "-m", f"{__package__}.drivers.{mad}_market", action, request, str(identity)]
        own = {**environment, "PYTHONPATH": str(_PROJECT)}
        return processes.run(argv, environment=own, directory=directory)
    if mad not in available(remotes):
        return processes.Completed(1, "", f"Marketplace driver '{mad}' not available")
    return processes.run([str(script), request, str(identity)], environment=environment, directory=directory)


def _element(name: str, value: str) -> str:
    return f"<{name}>{escape(value)}</{name}>" if value else f"<{name}/>"


def _number(values: Mapping[str, list[str]], name: str) -> int:
    """Return a monitor number as oned reads it: text and absence count as 0."""
    text = values.get(name, ["0"])[-1]
    return int(text) if text.lstrip("-").isdigit() else 0
