# SPDX-License-Identifier: Apache-2.0
"""Requests as recorded, and as nobody should send them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebackup_driver.market import payload

DATA = Path(__file__).resolve().parents[1] / "data"


def words(xml: str, object_id: str = "13") -> list[str]:
    return [base64.b64encode(xml.encode()).decode(), object_id]


def recorded(version: str, action: str) -> list[str]:
    (path,) = DATA.rglob(f"{version}/payloads/market-{action}-1/argv")
    return path.read_text().split("\n")[1:3]


@pytest.mark.parametrize("version", ["6.4", "7.4"])
def test_recorded_requests(version: str) -> None:
    imported = payload.read(recorded(version, "import"))
    assert imported.app.app_id == imported.object_id and imported.source.format == "qcow2"
    assert imported.source.place == "/var/lib/one/datastores/1/" + imported.source.place.rsplit("/", 1)[1]
    assert imported.source.disposal == ""
    assert imported.image is not None and imported.image.findtext("TEMPLATE/SAVED_VM_ID", "").isdigit()
    deleted = payload.read(recorded(version, "delete"))
    assert deleted.app.source == "probe://app-1234" and deleted.image is None
    monitored = payload.read(recorded(version, "monitor"))
    assert monitored.marketplace.marketplace_id == monitored.object_id and monitored.marketplace.driver == "probe"
    with pytest.raises(payload.Unusable, match="no MARKETPLACEAPP"):
        monitored.app  # noqa: B018


GOOD = "<MARKET_DRIVER_ACTION_DATA><MARKETPLACE><ID>1</ID></MARKETPLACE></MARKET_DRIVER_ACTION_DATA>"


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ([], "is called by oned"),
        (["a"], "is called by oned"),
        (words(GOOD) + ["more"], "is called by oned"),
        (words(GOOD, "-1"), "not an id"),
        (words(GOOD, "x"), "not an id"),
        (["*not base64*", "1"], "not Base64"),
        (words("no xml"), "not well-formed"),
        (words(GOOD[:-5]), "not well-formed"),
        (words("<A/>"), "is a A, not a"),
        (words("<MARKET_DRIVER_ACTION_DATA/>"), "no MARKETPLACE"),
        (words(GOOD.replace("<MARKETPLACE>", "<MARKETPLACE/><MARKETPLACE>", 1)), "2 times"),
        (words(f"<!DOCTYPE a [<!ENTITY b 'c'>]>{GOOD}"), "document type"),
        (words(f"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>{GOOD}"), "document type"),
        (["A" * (payload.LIMIT_BYTES * 4 // 3 + 5), "1"], "larger than"),
    ],
)
def test_what_is_refused(argv: list[str], reason: str) -> None:
    with pytest.raises(payload.Unusable, match=reason):
        payload.read(argv)


@given(st.text(max_size=200))
def test_any_text_is_either_a_request_or_unusable(text: str) -> None:
    try:
        payload.read(words(GOOD.replace("<ID>", f"<NAME>{text}</NAME><ID>")))
    except (payload.Unusable, UnicodeEncodeError):
        pass
