# SPDX-License-Identifier: Apache-2.0
"""ACL rules: those of a fresh front-end, as it shows them, and what they let users do to marketplaces and apps.

The texts are those of OpenNebula 6.4 and 7.4 (src/acl/AclManager.cc, src/acl/AclRule.cc, src/vdc/Vdc.cc)."""

from __future__ import annotations

import pytest
from lxml import etree

from sandbox.process import FrontEnd, Refused
from tests.sandbox import driving

_OPEN = "* MARKETPLACE+MARKETPLACEAPP/* USE *"


def rules(front_end: FrontEnd) -> dict[str, etree._Element]:
    pool = etree.fromstring(front_end.call("one.acl.info").encode())
    return {item.findtext("STRING", ""): item for item in pool.findall("ACL")}


@pytest.mark.both_versions
def test_the_rules_of_a_fresh_front_end(fresh_front_end: FrontEnd, version: str) -> None:
    found = rules(fresh_front_end)
    own = "VM+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VMGROUP" + ("+BACKUPJOB" if version == "7.4" else "")
    assert list(found) == [
        f"@1 {own}/* CREATE *", "* ZONE/* USE *", _OPEN,
        "@1 HOST/* MANAGE #0", "@1 NET/* USE #0", "@1 DATASTORE/* USE #0",
    ]  # fmt: skip
    assert etree.tostring(found[_OPEN]) == (
        b"<ACL><ID>2</ID><USER>400000000</USER><RESOURCE>18000400000000</RESOURCE><RIGHTS>1</RIGHTS>"
        b"<ZONE>400000000</ZONE><STRING>* MARKETPLACE+MARKETPLACEAPP/* USE *</STRING></ACL>"
    )


def test_rules_open_marketplaces_and_apps(fresh_front_end: FrontEnd) -> None:
    call = fresh_front_end.call
    user = int(call("one.user.allocate", "tenant", "secret", "core", []))
    text = 'NAME="m"\nMARKET_MAD="http"\nBASE_URL="http://127.0.0.1:9/"\nPUBLIC_DIR="/nonexistent"'
    market = int(call("one.market.allocate", text))
    app = int(call("one.marketapp.allocate", 'NAME="a"\nTYPE="VMTEMPLATE"\nORIGIN_ID="-1"', market))

    def sees(kind: str, number: int) -> bool:
        try:
            call(f"one.{kind}.info", number, session="tenant:secret")
            return True
        except Refused:
            return False

    assert sees("market", market) and sees("marketapp", app)
    assert call("one.acl.delrule", 2) == 2
    assert not sees("market", market) and not sees("marketapp", app)
    rule = int(call("one.acl.addrule", f"{2**32 + user:x}", f"{2**52 + 2**32 + app:x}", "1", "100000000"))
    assert f"#{user} MARKETPLACEAPP/#{app} USE #0" in rules(fresh_front_end)
    assert sees("marketapp", app) and not sees("market", market)
    call("one.acl.delrule", rule)
    call("one.acl.addrule", f"{2**33 + 1:x}", f"{2**51 + 2**33:x}", "1")
    assert "@1 MARKETPLACE/@0 USE #0" in rules(fresh_front_end)
    assert sees("market", market) and not sees("marketapp", app)


def test_rules_that_are_refused(front_end: FrontEnd) -> None:
    with driving.refused(8192, "Rule * MARKETPLACE+MARKETPLACEAPP/* USE * already exists"):
        front_end.call("one.acl.addrule", "400000000", "18000400000000", "1", "400000000")
    with driving.refused(8192, "is malformed: wrong [rights], it cannot be 0"):
        front_end.call("one.acl.addrule", "400000000", "18000400000000", "0", "400000000")
    with driving.refused(8192, "INDIVIDUAL(#) selector cannot be applied to ALL zones"):
        front_end.call("one.acl.addrule", "400000000", f"{2**51 + 2**32 + 5:x}", "1", "400000000")
    with driving.refused(8192, "Rule 9999 does not exist"):
        front_end.call("one.acl.delrule", 9999)
    front_end.call("one.user.allocate", "nobody", "secret", "core", [])
    with pytest.raises(Refused, match="Not authorized to perform MANAGE ACL"):
        front_end.call("one.acl.info", session="nobody:secret")
