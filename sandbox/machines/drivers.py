# SPDX-License-Identifier: Apache-2.0
"""What every driver and hook process is given: its environment and the request documents."""

from __future__ import annotations

from sandbox.core.front import Front
from sandbox.world import processes


def environment(front: Front) -> dict[str, str]:
    """The environment of the recorded drivers, with HOME and PWD at the state directory."""
    return processes.oneadmin_environment(front.settings.state, front.endpoint)


def market_request(front: Front, documents: list[str]) -> bytes:
    """The action data of a marketplace driver around the XML of its objects."""
    return f"<MARKET_DRIVER_ACTION_DATA>{''.join(documents)}</MARKET_DRIVER_ACTION_DATA>".encode()
