# SPDX-License-Identifier: Apache-2.0
"""Marketplaces and apps as real front-ends show them."""

from __future__ import annotations

import pytest

from onebackup_driver import app, states
from tests import objects


@pytest.mark.parametrize("version, app_id, market", [("6.4", 20, 108), ("7.4", 11, 104)])
def test_a_ready_image_app(version: str, app_id: int, market: int) -> None:
    found = app.parse(objects.load(version, "app-image-ready"))
    assert (found.app_id, found.marketplace_id, found.uid, found.gid) == (app_id, market, 0, 0)
    assert (found.state, found.kind) == (states.APP_READY, states.APP_TYPE_IMAGE)
    assert (found.size_mb, found.format, len(found.md5)) == (512, "qcow2", 32)
    assert found.source.startswith("http://127.0.0.1:") and found.name.startswith("app0-")
    assert (found.tags, found.error_text) == ({}, "") and found.registered > 1795400000


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_an_app_that_is_just_being_uploaded(version: str) -> None:
    found = app.parse(objects.load(version, "app-locked"))
    assert (found.state, found.source, found.md5) == (states.APP_LOCKED, "", "")


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_our_attribute_on_a_template_app(version: str) -> None:
    found = app.parse(objects.load(version, "app-vmtemplate"))
    assert (found.kind, found.state) == (states.APP_TYPE_VMTEMPLATE, states.APP_READY)
    later = app.parse(objects.load(version, "app-vmtemplate-updated"))
    assert (found.tags, later.tags) == ({}, {"TIME": "5", "VM_ID": "1"})


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_a_pool(version: str) -> None:
    pool = objects.load(version, "apppool")
    found = app.parse_pool(pool)
    assert len(found) == len(pool) > 5
    assert len({item.app_id for item in found}) == len(found) and all(item.app_id >= 0 for item in found)
    assert {item.kind for item in found} == {states.APP_TYPE_IMAGE, states.APP_TYPE_VMTEMPLATE}


@pytest.mark.parametrize("version, market_id", [("6.4", 108), ("7.4", 104)])
def test_a_marketplace(version: str, market_id: int) -> None:
    found = app.parse_marketplace(objects.load(version, "market-http"))
    assert (found.marketplace_id, found.driver, found.enabled) == (market_id, "http", True)
    disabled = app.parse_marketplace(objects.changed(objects.load(version, "market-http"), STATE="1"))
    assert not disabled.enabled


def test_a_marketplace_of_6_0_has_no_state() -> None:
    element = objects.load("6.4", "market-http")
    element.remove(element.find("STATE"))  # type: ignore[arg-type]
    assert app.parse_marketplace(element).enabled
