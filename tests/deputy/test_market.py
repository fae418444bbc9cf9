# SPDX-License-Identifier: Apache-2.0
"""What a tenant stores through our marketplace driver comes back as oneadmin's app when the catalogue is published."""

from __future__ import annotations

import base64

import pytest

from onebackup_driver.market import listed, payload
from onebackup_driver.xml_values import Attribute

RUN = "a" * 32


def stored(uid: int, gid: int, name: str = "backup-disk-0") -> list[Attribute]:
    """What is kept of an app with the owner and name for the day on which the catalogue is made anew."""
    text = (
        "<MARKET_DRIVER_ACTION_DATA><MARKETPLACE><ID>100</ID><NAME>m</NAME></MARKETPLACE><MARKETPLACEAPP><ID>7</ID>"
        f"<UID>{uid}</UID><GID>{gid}</GID><NAME>{name}</NAME><TYPE>1</TYPE><TEMPLATE><NOTE>n</NOTE>"
        f"<ONEBACKUP><RUN>{RUN}</RUN><ROLE>disk</ROLE><VM_ID>1</VM_ID><DISK_ID>0</DISK_ID></ONEBACKUP>"
        "</TEMPLATE></MARKETPLACEAPP></MARKET_DRIVER_ACTION_DATA>"
    )
    return listed.attributes(payload.read([base64.b64encode(text.encode()).decode(), "7"]))


@pytest.mark.parametrize("owner", [(0, 0), (5, 0)])
def test_our_own_apps_come_back_as_they_were(owner: tuple[int, int]) -> None:
    found = dict(stored(*owner))
    assert found["NAME"] == "backup-disk-0" and found["NOTE"] == "n"
    assert isinstance(found["ONEBACKUP"], dict) and found["ONEBACKUP"]["RUN"] == RUN


def test_a_tenants_app_neither_counts_nor_takes_anothers_place() -> None:
    """oned updates the app of oneadmin's that has the name: its SOURCE would be the attacker's disk."""
    found = dict(stored(7, 101))
    assert found["NAME"] == "backup-disk-0 of user 7" and found["NOTE"] == "n"
    assert "ONEBACKUP" not in found
    assert dict(stored(8, 101))["NAME"] != found["NAME"]
    assert len(str(dict(stored(7, 101, "x" * 128))["NAME"])) <= 128
