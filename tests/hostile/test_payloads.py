# SPDX-License-Identifier: Apache-2.0
"""Texts of users within what oned hands over: they cannot take the place of what oned wrote."""

from __future__ import annotations

import base64

import pytest

from onebackup_driver.market import payload
from onebackup_driver.xml_text import Unreadable, parse

MARKET = (
    "<MARKETPLACE><ID>100</ID><NAME>m</NAME><TEMPLATE><REPOSITORY><![CDATA[dir:/good]]></REPOSITORY></TEMPLATE>"
    "</MARKETPLACE>"
)
EVIL = MARKET.replace("dir:/good", "dir:/evil")
TAIL = (
    "<DATASTORE><ID>1</ID></DATASTORE><IMPORT_SOURCE>/ds/image</IMPORT_SOURCE><MD5>-</MD5><SIZE>1</SIZE>"
    "<FORMAT>raw</FORMAT><DISPOSE>NO</DISPOSE><DISPOSE_CMD/>"
)


def request(of_app: str, of_image: str) -> payload.Request:
    """An import as oned writes it, with a text of the app's owner and one of the image's."""
    attribute = f"<TEMPLATE><X><![CDATA[{of_app}]]></X></TEMPLATE>"
    app = f"<MARKETPLACEAPP><ID>5</ID><MARKETPLACE>m</MARKETPLACE>{attribute}</MARKETPLACEAPP>"
    image = f"<IMAGE><ID>3</ID><DATASTORE>d</DATASTORE><TEMPLATE><Y><![CDATA[{of_image}]]></Y></TEMPLATE></IMAGE>"
    xml = f"<MARKET_DRIVER_ACTION_DATA>{app}{MARKET}{image}{TAIL}</MARKET_DRIVER_ACTION_DATA>"
    return payload.read([base64.b64encode(xml.encode()).decode(), "5"])


def test_honest_texts() -> None:
    for text in ("", "<MARKETPLACE>", "<!DOCTYPE html><p>", "a & b", "<!-- -->", "<?php ?>"):
        found = request(text, text)
        assert found.marketplace.attributes["REPOSITORY"] == "dir:/good" and found.source.place == "/ds/image"


#: Out of the app's text, and a way to swallow what follows until the image's text ends it.
OUT = "]]></X></TEMPLATE></MARKETPLACEAPP>"
WRAPPED = "<MARKETPLACEAPP><TEMPLATE><X><![CDATA["
BACK = "]]></Y></TEMPLATE></IMAGE>"


@pytest.mark.parametrize(
    ("of_app", "of_image"),
    [
        (f"{OUT}{EVIL}<JUNK>{WRAPPED}", f"{BACK}</JUNK><IMAGE><ID>3</ID><TEMPLATE><Y><![CDATA["),
        (f"{OUT}{EVIL}<IMAGE><A>{WRAPPED}", f"{BACK}</A><TEMPLATE><Y><![CDATA["),
        (f"{OUT}{EVIL}<!--", "--><IMAGE><TEMPLATE><Y><![CDATA["),
        (f"{OUT}{EVIL}<?x ", "?><IMAGE><TEMPLATE><Y><![CDATA["),
        (f"{OUT}{EVIL}{WRAPPED}", ""),
        ("", f"{BACK}<DATASTORE><BASE_PATH>/</BASE_PATH></DATASTORE><IMAGE><TEMPLATE><Y><![CDATA["),
        ("", f"{BACK}<DISPOSE_CMD>rm -rf /</DISPOSE_CMD><IMAGE><TEMPLATE><Y><![CDATA["),
        ("", f"{BACK}<IMPORT_SOURCE>/etc/shadow</IMPORT_SOURCE><IMAGE><TEMPLATE><Y><![CDATA["),
    ],
)  # fmt: skip
def test_what_oned_wrote_cannot_be_hidden(of_app: str, of_image: str) -> None:
    with pytest.raises(payload.Unusable):
        request(of_app, of_image)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "x", "<!DOCTYPE a><a/>", "<!-- c --><a/>", "<?pi?><a/>", "<a>&b;</a>", "<a", "<a/><b/>", "<a>\0</a>",
        "<a>\x1b</a>", "<a>\ud800</a>", "<?xml version='1.0' encoding='utf-16'?><a/>", "<a b='&c;'/>",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_xml_of_opennebula(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text, 1000)
    with pytest.raises(Unreadable, match="larger than"):
        parse(f"<a>{'x' * 1000}</a>", 1000)
