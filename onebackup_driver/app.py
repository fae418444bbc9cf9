# SPDX-License-Identifier: Apache-2.0
"""Marketplaces and their apps as the front-end shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from lxml import etree

from onebackup_driver import states, xml_values
from onebackup_driver.xml_values import Vector


@dataclass(frozen=True)
class App:
    """One MARKETPLACEAPP; `tags` is our ONEBACKUP attribute, empty on an app that is not ours."""

    app_id: int
    name: str
    uid: int
    gid: int
    marketplace_id: int
    state: int
    kind: int
    size_mb: int
    source: str
    md5: str
    format: str
    registered: int
    tags: Vector
    element: etree._Element

    @property
    def error_text(self) -> str:
        """The reason oned gives for the state ERROR, or nothing."""
        return xml_values.text(self.element, "TEMPLATE/ERROR")


@dataclass(frozen=True)
class Marketplace:
    """One MARKETPLACE; `driver` is its MARKET_MAD, `attributes` its TEMPLATE (with keys: it is not printed, nor is
    `element`, the whole)."""

    marketplace_id: int
    name: str
    driver: str
    enabled: bool
    attributes: Vector = field(default_factory=dict, repr=False)
    element: Optional[etree._Element] = field(default=None, repr=False, compare=False)


def parse(element: etree._Element) -> App:
    """An app from its `<MARKETPLACEAPP>` element."""
    return App(
        app_id=xml_values.number(element, "ID"),
        name=xml_values.text(element, "NAME"),
        uid=xml_values.number(element, "UID"),
        gid=xml_values.number(element, "GID"),
        marketplace_id=xml_values.number(element, "MARKETPLACE_ID"),
        state=xml_values.number(element, "STATE"),
        kind=xml_values.number(element, "TYPE"),
        size_mb=xml_values.number(element, "SIZE", 0),
        source=xml_values.text(element, "SOURCE"),
        md5=xml_values.text(element, "MD5"),
        format=xml_values.text(element, "FORMAT"),
        registered=xml_values.number(element, "REGTIME", 0),
        tags=xml_values.vector(element.find("TEMPLATE/ONEBACKUP")),
        element=element,
    )


def parse_pool(element: etree._Element) -> list[App]:
    """All apps of a `<MARKETPLACEAPP_POOL>`."""
    return [parse(item) for item in element.findall("MARKETPLACEAPP")]


def parse_marketplace(element: etree._Element) -> Marketplace:
    """A marketplace from its `<MARKETPLACE>` element."""
    return Marketplace(
        marketplace_id=xml_values.number(element, "ID"),
        name=xml_values.text(element, "NAME"),
        driver=xml_values.text(element, "MARKET_MAD"),
        enabled=xml_values.number(element, "STATE", states.MARKETPLACE_ENABLED) == states.MARKETPLACE_ENABLED,
        attributes=xml_values.vector(element.find("TEMPLATE")),
        element=element,
    )
