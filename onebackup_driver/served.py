# SPDX-License-Identifier: Apache-2.0
"""What a restore point in a repository is to OpenNebula: an app with SOURCE, MD5, SIZE and FORMAT."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from onebackup_driver import errors, repositories, units
from onebackup_driver.site_rules import Gateway

if TYPE_CHECKING:
    from onebackup_driver.repository.format.manifest import Manifest
    from onebackup_driver.repository.repository import Repository

#: `kind` of a manifest's facts: a disk, or what is known of a whole VM (no disk of its own).
DISK, VM = "disk", "vm"
_PATH = re.compile(r"/([0-9a-f]{32})/([0-9A-Za-z-]{1,64})/disk\.(qcow2|raw)\Z")
_MD5 = re.compile(r"[0-9a-f]{32}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def attributes(opened: Repository, made: Manifest, rules: Gateway) -> dict[str, str]:
    """SOURCE, MD5, SIZE (MiB) and FORMAT of a disk's restore point. Raises UsageError."""
    kind = made.facts["format"]
    return {
        "SOURCE": f"{base_url(rules)}/{repositories.identity(opened)}/{made.name}/disk.{kind}",
        "MD5": made.facts["md5"],
        "SIZE": str(-(-made.size_bytes // units.MIB)),
        "FORMAT": kind,
    }


def has_good_facts(made: Manifest) -> bool:
    """Whether the facts of a manifest are as the driver writes them. Without a key anybody who can write into the
    store can make a manifest, and what is in it becomes apps of oneadmin's."""
    facts = made.facts
    if facts.get("kind") == VM:
        run, text, disks = facts.get("run"), facts.get("text"), facts.get("disks")
        return _is_text(run) and _is_text(text) and type(disks) is int
    if facts.get("kind") != DISK:
        return True
    values = facts.get("app")
    good = isinstance(values, list) and all(_is_attribute(item) for item in values)
    return good and facts.get("format") in ("raw", "qcow2") and bool(_MD5.fullmatch(str(facts.get("md5"))))


def _is_attribute(item: object) -> bool:
    if not (isinstance(item, (list, tuple)) and len(item) == 2 and _is_text(item[0])):
        return False
    return all(_is_text(value) for value in (item[1].values() if isinstance(item[1], dict) else [item[1]]))


def _is_text(value: object) -> bool:
    """JSON can hold halves of characters."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def parse(path: str) -> Optional[tuple[str, str, str]]:
    """Repository id, name of the manifest and format in a URL or its path; None for anything else."""
    found = _PATH.search(path)
    return (found[1], found[2], found[3]) if found else None


def base_url(rules: Gateway) -> str:
    """What every SOURCE begins with. Raises UsageError when the token cannot be read."""
    host = f"[{rules.address}]" if ":" in rules.address else rules.address
    scheme = "https" if rules.tls_certificate else "http"
    return (rules.url.rstrip("/") or f"{scheme}://{host}:{rules.port}") + prefix(rules)


def prefix(rules: Gateway) -> str:
    """`/<token>`, or nothing when none is configured. Raises UsageError."""
    if not rules.token_file:
        return ""
    try:
        token = Path(rules.token_file).read_text(encoding="ascii").split("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"cannot read the gateway's token_file {rules.token_file}") from error
    if not re.fullmatch(r"[0-9A-Za-z_-]{16,200}", token):
        raise errors.UsageError(f"the first line of {rules.token_file} is not 16 to 200 letters, digits, - and _")
    return f"/{token}"


def check(rules: Gateway) -> None:
    """Refuse to serve more than this machine without a certificate and a token. Raises UsageError."""
    if rules.address in _LOOPBACK:
        return
    if not (rules.tls_certificate and rules.tls_key and rules.token_file):
        raise errors.UsageError(
            f"gateway: address {rules.address} is not this machine alone: it needs tls_certificate, tls_key, token_file"
        )
