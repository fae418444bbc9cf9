# SPDX-License-Identifier: Apache-2.0
"""Which repositories there are, asked of the front-end: on a new leader the driver may not have run yet."""

from __future__ import annotations

import logging
import threading
from typing import Optional

from onebackup_driver import app, clock, errors, frontend, paths, repositories
from onebackup_driver.app import Marketplace
from onebackup_driver.site_rules import Configuration

_log = logging.getLogger(__name__)
_CALL_TIMEOUT_S, _PATIENCE_S = 10.0, 3.0
#: The front-end is not asked more often, whoever asks for what.
_PAUSE_S = 5.0


class Learner:
    """Looks through the front-end's marketplaces. For all threads."""

    def __init__(self, where: paths.Paths, site: Configuration):
        self._where, self._site = where, site
        self._lock = threading.Lock()
        self._looked: Optional[float] = None
        self._failure: Optional[errors.Error] = None

    def look(self) -> None:
        """Remember the repository of each marketplace of our driver (repositories.remember), unless that was done just
        now. Raises Error when the front-end cannot be asked."""
        with self._lock:
            if self._looked is None or clock.monotonic() - self._looked >= _PAUSE_S:
                self._failure = self._asked()
                self._looked = clock.monotonic()
            if self._failure is not None:
                raise self._failure

    def _asked(self) -> Optional[errors.Error]:
        try:
            front_end = frontend.connect(self._where, _CALL_TIMEOUT_S, _PATIENCE_S)
            found = front_end.element("one.marketpool.info").findall("MARKETPLACE")
        except errors.Error as error:
            return errors.Failed(f"which repositories there are cannot be asked: {error}")
        for element in found:
            marketplace = app.parse_marketplace(element)
            if marketplace.driver == repositories.DRIVER:
                self._remember(marketplace)
        return None

    def _remember(self, marketplace: Marketplace) -> None:
        try:
            settings = repositories.shown(marketplace, self._site.s3_credentials_file, self._where)
            repositories.remember(self._where, settings, repositories.open(settings, self._where))
        except (errors.Error, OSError) as error:
            _log.warning("marketplace %d (%s): %s", marketplace.marketplace_id, marketplace.name, error)
