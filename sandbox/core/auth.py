# SPDX-License-Identifier: Apache-2.0
"""Sessions: `user:password`, the password kept as SHA-256; login tokens; the one_auth file of a new front-end."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path

from sandbox.core import acl
from sandbox.core.caller import Caller
from sandbox.core.errors import AUTHENTICATION, CallError
from sandbox.core.front import Front
from sandbox.core.record import Record

REFUSAL = "User couldn't be authenticated, aborting call."


def hashed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def authenticate(front: Front, session: str, method: str, request: int) -> Caller:
    """The caller behind a session string; raises the 256 refusal."""
    name, _, password = session.partition(":")
    with front.lock:
        user = front.by_name("user", name)
        if user is None or not user["enabled"] or not _matches(user, password):
            raise CallError(AUTHENTICATION, REFUSAL)
        group = front.find("group", user["gid"])
        groups = (user["gid"], *user["groups"])
        rules = tuple(rule for rule in map(acl.of, front.all("acl")) if rule.is_for(user.id, groups))
        return Caller(user.id, user["gid"], user.name, group.name if group else "", groups, method, request, rules)


def _matches(user: Record, password: str) -> bool:
    if user["driver"] not in ("core", "server_cipher") or not password:
        return False
    if secrets.compare_digest(user["password"], hashed(password)):
        return True
    tokens = user.get("tokens", [])
    return any(token["token"] == password and not 0 <= token["expires"] <= time.time() for token in tokens)


def write_one_auth(path: Path) -> str:
    """Makes the one_auth file of a new front-end (mode 0600) and returns oneadmin's password."""
    if path.exists():
        return path.read_text().strip().split(":", 1)[1]
    password = secrets.token_hex(16)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f"oneadmin:{password}\n")
    return password
