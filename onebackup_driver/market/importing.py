# SPDX-License-Identifier: Apache-2.0
"""import: an image becomes a restore point of a disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from onebackup_driver import errors, plain, served, template_text
from onebackup_driver.market import fetching, listed, parents, payload, storing
from onebackup_driver.market.site import Site
from onebackup_driver.repository import problems
from onebackup_driver.repository.format.manifest import Manifest
from onebackup_driver.repository.repository import Repository


def answer(find_site: Callable[[], Site], request: payload.Request) -> str:
    """Store the image; SOURCE, MD5, SIZE and FORMAT of what the gateway serves from now on.

    The image is disposed of afterwards, when export wanted that, whether it could be stored or not.
    """
    try:
        text = _imported(find_site(), request)
    except errors.Error as error:
        trouble = fetching.dispose(request)
        if trouble:
            raise _told(error, trouble) from error
        raise
    except BaseException:
        fetching.dispose(request)
        raise
    trouble = fetching.dispose(request)
    if trouble:
        print(plain.line(f"WARN: {trouble}"), file=sys.stderr)
    return text


def _told(error: errors.Error, trouble: str) -> errors.Error:
    told = errors.Failed(f"{error}; {trouble}")
    told.exit_code = error.exit_code
    return told


def _imported(site: Site, request: payload.Request) -> str:
    opened, _ = site.open(request)
    with listed.under_way(site.where, opened), fetching.local(site, request) as image:
        made = _store(site, request, opened, image)
    attributes = served.attributes(opened, made, site.rules.gateway)
    return template_text.render([*attributes.items()]) + "\n"


def _store(site: Site, request: payload.Request, opened: Repository, image: storing.Image) -> Manifest:
    series = parents.series(request)
    parent = parents.find(site.where, opened, series)
    facts: dict[str, Any] = {"kind": served.DISK, "series": series, "app": listed.attributes(request)}
    try:
        made = storing.store(opened, image, parent, facts, site.where)
    except (problems.Damaged, problems.Missing) as error:  # what an earlier backup stored is not as it was
        verify = f"onebackup repository verify {request.marketplace.marketplace_id}"
        raise errors.Failed(f"{error}; run: {verify}; the next backup then stores it anew") from error
    parents.remember(site.where, opened, series, made.name)
    return made
