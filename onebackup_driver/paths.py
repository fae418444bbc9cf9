# SPDX-License-Identifier: Apache-2.0
"""Where things lie on a front-end: system-wide, or below ONE_LOCATION (OpenNebula's self-contained installation)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from onebackup_driver import errors


@dataclass(frozen=True)
class Paths:
    """configuration: onebackup.yaml · state: journals, locks and queue · one_auth: the session file · endpoint."""

    configuration: Path
    state: Path
    one_auth: Path
    endpoint: str

    @property
    def journals(self) -> Path:
        return self.state / "journal"

    @property
    def locks(self) -> Path:
        return self.state / "locks"

    @property
    def queue(self) -> Path:
        return self.state / "queue"

    @property
    def progress(self) -> Path:
        return self.state / "progress"

    @property
    def failures(self) -> Path:
        """What the timer remembers of failed backups."""
        return self.state / "failures.json"

    @property
    def log(self) -> Path:
        """Where a worker that a hook started, and hooks that met a bug, write."""
        return self.state / "hooks.log"


def find(environment: Optional[Mapping[str, str]] = None) -> Paths:
    """The paths for this process: ONE_LOCATION, ONE_AUTH, ONE_XMLRPC, ONEBACKUP_CONFIG and HOME are honoured.

    Raises UsageError when ONEBACKUP_CONFIG names a file that is not there.

    ONE_AUTH and ONE_XMLRPC mean what they mean to every OpenNebula command (src/oca/ruby/opennebula/client.rb).
    """
    env = os.environ if environment is None else environment
    if env.get("ONEBACKUP_CONFIG") and not Path(env["ONEBACKUP_CONFIG"]).exists():
        raise errors.UsageError(f"ONEBACKUP_CONFIG names {env['ONEBACKUP_CONFIG']}, which does not exist")
    home = Path(env.get("HOME", "/var/lib/one"))
    location = env.get("ONE_LOCATION") or _own_location()
    etc = Path(location, "etc") if location else Path("/etc/one")
    var = Path(location, "var") if location else Path("/var/lib/one")
    return Paths(
        configuration=Path(env.get("ONEBACKUP_CONFIG") or etc / "onebackup.yaml"),
        state=var / "onebackup",
        one_auth=_one_auth(env, home, var),
        endpoint=env.get("ONE_XMLRPC") or _endpoint_file(home) or "http://localhost:2633/RPC2",
    )


def _own_location() -> str:
    """The self-contained installation that this package was installed into (installation/locating.py), if it was:
    hooks and drivers are not told ONE_LOCATION by everyone who starts them (recordings: env)."""
    prefix = Path(sys.prefix)
    if prefix.parts[-3:] == ("lib", "onebackup", "venv") and (prefix.parents[2] / "etc" / "oned.conf").exists():
        return str(prefix.parents[2])
    return ""


def _one_auth(env: Mapping[str, str], home: Path, var: Path) -> Path:
    if env.get("ONE_AUTH"):
        return Path(env["ONE_AUTH"])
    own = home / ".one" / "one_auth"
    return own if os.path.exists(own) else var / ".one" / "one_auth"


def _endpoint_file(home: Path) -> str:
    try:
        return (home / ".one" / "one_endpoint").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def with_state(where: Paths, state_directory: str) -> Paths:
    """The same paths with another state directory."""
    return replace(where, state=Path(state_directory))
