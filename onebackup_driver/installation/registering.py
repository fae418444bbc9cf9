# SPDX-License-Identifier: Apache-2.0
"""The hooks at the front-end that is being installed on."""

from __future__ import annotations

import os
from pathlib import Path

from onebackup_driver import errors, frontend, paths
from onebackup_driver.frontend import FrontEnd
from onebackup_driver.hooks import registration
from onebackup_driver.hooks.registration import Change
from onebackup_driver.installation import locating
from onebackup_driver.installation.locating import Place

_CALL_TIMEOUT_S, _PATIENCE_S = 30, 1
#: Hooks on calls that came later than 6.0.
_SINCE = {"onebackup_vm_backup": (6, 6)}


def reason_not_to(place: Place) -> str:
    """With DESTDIR nothing runs in the system that is installed into, unless ONE_XMLRPC names its front-end."""
    if place.root and not os.environ.get("ONE_XMLRPC"):
        return f"with DESTDIR: register them later with onehook create, from {place.hook_templates}"
    return ""


def require_access(place: Place) -> None:
    """Raise Error when hooks could not be registered: no session, no answer."""
    _connect(place).element("one.hookpool.info", -2, -1, -1)


def register(place: Place, source: Path) -> list[Change]:
    """Register the hooks of this tree. Raises Error when the front-end does not answer."""
    return registration.register(_connect(place), source / "share" / "hooks")


def intentions(place: Place, source: Path) -> list[str]:
    """What `register` would do, in words."""
    front_end = _connect(place)
    verbs = {registration.MISSING: "would create", registration.DIFFERENT: "would update"}
    return [f"{verbs[change.what]} hook {change.name}" for change in wrong(front_end, source / "share" / "hooks")]


def wrong(front_end: FrontEnd, directory: Path) -> list[Change]:
    """The hooks that are not as their templates say; what this front-end cannot have is not missing."""
    known = locating.number(front_end.version())
    return [
        change
        for change in registration.check(front_end, directory)
        if change.what != registration.EQUAL and known >= _SINCE.get(change.name, known)
    ]


def unregister(place: Place) -> list[Change]:
    """Remove our hooks."""
    return registration.unregister(_connect(place))


def release(place: Place) -> str:
    """The release the front-end says it is, when it answers, else what its files say."""
    try:
        return _connect(place).version() if not reason_not_to(place) else place.version
    except errors.Error:
        return place.version


def _connect(place: Place) -> FrontEnd:
    return frontend.connect(paths.find(locating.environment(place)), _CALL_TIMEOUT_S, _PATIENCE_S)
