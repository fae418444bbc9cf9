# SPDX-License-Identifier: Apache-2.0
"""How an S3 bucket is reached."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Access:
    """How to reach the marketplace's bucket; the keys never show when this is printed."""

    endpoint: str
    region: str
    signature: str
    path_style: bool
    key_id: str = field(repr=False)
    secret: str = field(repr=False)
