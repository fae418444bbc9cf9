# SPDX-License-Identifier: Apache-2.0
"""Where the sandbox answers otherwise than the recorded front-end, and why. Keep it small.

Key: (version or "*", call number or method, pattern of a line of the difference). Value: the reason.
"""
from __future__ import annotations

_MONITORED = r"^-    (CPU|ID|MEMORY|NETRX|NETTX|TIMESTAMP|DISK(RD|WR)(BYTES|IOPS))!\[CDATA="

EXCEPTIONS: dict[tuple[str, str, str], str] = {
    ("6.4", "one.vm.info", _MONITORED): "a monitor message happened to arrive while this session was recorded "
                                        "(none did in 7.4); the sandbox's VMs have no monitoring data",
}
