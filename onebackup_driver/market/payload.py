# SPDX-License-Identifier: Apache-2.0
"""What oned hands a marketplace driver (6.0-7.4 src/market/MarketPlaceManager.cc, src/market_mad/one_market.rb):
argv = <Base64 of XML> <id>, nothing on stdin. Recorded in recordings/*/payloads/market-*.

Users write parts of it (templates of apps and images), and oned lets `]]>` in a text close its own element. So what
is there twice is refused: one of the two could be made up.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Optional

from lxml import etree

from onebackup_driver import app, errors, xml_text, xml_values
from onebackup_driver.app import App, Marketplace

#: One argument of a process holds 128 KiB (MAX_ARG_STRLEN); more is accepted in case another way is found once.
LIMIT_BYTES = 16 * 1024 * 1024
_ROOT = "MARKET_DRIVER_ACTION_DATA"
_OBJECTS = ("MARKETPLACEAPP", "MARKETPLACE", "IMAGE", "DATASTORE")
_PARTS = (*_OBJECTS, "IMPORT_SOURCE", "MD5", "SIZE", "FORMAT", "DISPOSE", "DISPOSE_CMD")


class Unusable(errors.UsageError):
    """The driver was not called as one_market calls it."""


@dataclass(frozen=True)
class Source:
    """What the datastore's `export` said: where the image is, and what is to be run when it is not needed any more."""

    place: str
    format: str
    size_mb: int
    disposal: str


@dataclass(frozen=True)
class Request:
    """`app` is missing in a monitor request, `image` in all but imports."""

    object_id: int
    marketplace: Marketplace
    root: etree._Element

    @property
    def app(self) -> App:
        """The app to import or to delete. Raises Unusable."""
        return app.parse(_only(self.root, "MARKETPLACEAPP"))

    @property
    def app_element(self) -> etree._Element:
        return _only(self.root, "MARKETPLACEAPP")

    @property
    def image(self) -> Optional[etree._Element]:
        return _at_most_one(self.root, "IMAGE")

    @property
    def source(self) -> Source:
        """Raises Unusable."""
        values = {name: (_only(self.root, name).text or "").strip() for name in ("IMPORT_SOURCE", "FORMAT", "DISPOSE")}
        command = _at_most_one(self.root, "DISPOSE_CMD")
        wanted = values["DISPOSE"].upper() == "YES" and command is not None
        if not values["IMPORT_SOURCE"]:
            raise Unusable("the datastore's export named no IMPORT_SOURCE")
        return Source(
            values["IMPORT_SOURCE"],
            values["FORMAT"],
            xml_values.number(self.root, "SIZE", 0),
            (command.text or "") if wanted and command is not None else "",
        )


def read(words: list[str]) -> Request:
    """The request from the words after the command. Raises Unusable."""
    if len(words) != 2:
        raise Unusable("a marketplace driver is called by oned: <Base64 of XML> <id>")
    identity = xml_values.whole_number(words[1])
    if identity is None or identity < 0:
        raise Unusable(f"not an id: {words[1][:40]!r}")
    root = _tree(words[0])
    return Request(identity, app.parse_marketplace(_only(root, "MARKETPLACE")), root)


def _tree(word: str) -> etree._Element:
    if len(word) > LIMIT_BYTES * 4 // 3 + 4:
        raise Unusable(f"the request is larger than {LIMIT_BYTES} bytes")
    try:
        content = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        raise Unusable("the request is not Base64") from None
    try:
        root = xml_text.parse(content.decode("utf-8"), LIMIT_BYTES, huge=False)
    except ValueError as error:
        raise Unusable(f"the request cannot be read: {' '.join(str(error).split())[:200]}") from None
    if root.tag != _ROOT:
        raise Unusable(f"the request is a {str(root.tag)[:40]}, not a {_ROOT}")
    _check_shape(root)
    return root


def _check_shape(root: etree._Element) -> None:
    """A user's text that closes its element could open others around what oned wrote, and close them in a second text:
    then what oned wrote lies hidden in an element that nobody looks at. oned writes known elements, each once, no
    comments, and objects in no other place. Raises Unusable."""
    if any(not isinstance(item.tag, str) for item in root.iter()):
        raise Unusable("the request has comments or instructions in it: somebody made up a part of it")
    for item in root:
        if item.tag not in _PARTS:
            raise Unusable(f"the request has an element {str(item.tag)[:40]}: somebody made up a part of it")
        _at_most_one(root, str(item.tag))
    for item in root.iter(*_OBJECTS):
        if item.getparent() is not root and len(item):
            raise Unusable(f"the request has a {item.tag} inside another element: somebody made up a part of it")


def _at_most_one(root: etree._Element, name: str) -> Optional[etree._Element]:
    found = root.findall(name)
    if len(found) > 1:
        raise Unusable(f"the request has {name} {len(found)} times: somebody made up a part of it")
    return found[0] if found else None


def _only(root: etree._Element, name: str) -> etree._Element:
    found = _at_most_one(root, name)
    if found is None:
        raise Unusable(f"the request has no {name}")
    return found
