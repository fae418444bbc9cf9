# SPDX-License-Identifier: Apache-2.0
"""The fixtures of the end-to-end tests: `site`, `own_site`, `proxy`."""

from tests.e2e.conftest import own_site, proxy, site

__all__ = ["own_site", "proxy", "site"]
