# SPDX-License-Identifier: Apache-2.0
"""delete: the manifest of a restore point goes; what only it used comes free with the next gc."""

from __future__ import annotations

from collections.abc import Callable

from onebackup_driver import errors, repositories, served
from onebackup_driver.market import payload
from onebackup_driver.market.site import Site


def answer(find_site: Callable[[], Site], request: payload.Request) -> str:
    """Remove it; one that is gone, or an app that never came to have one, is no error. Raises Refused."""
    source = request.app.source
    if not source:
        return ""
    found = served.parse(source)
    if found is None:
        raise errors.Refused(f"app {request.object_id}: {source[:100]} is no restore point of onebackup")
    opened, _ = find_site().open(request)
    repository_id, name, _ = found
    if repository_id != repositories.identity(opened):
        raise errors.Refused(
            f"app {request.object_id} is in repository {repository_id}, the marketplace has another one"
        )
    opened.delete(name)
    return ""
