# SPDX-License-Identifier: Apache-2.0
"""The fixtures of conftest.py: nobody's own front-end is in reach, and the servers are real."""
from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import pytest

from sandbox import process
from tests.conftest import HttpMarket


def test_no_front_end_and_no_home_of_a_developer_is_in_reach() -> None:
    assert os.environ["ONE_XMLRPC"] == "http://127.0.0.1:9/RPC2"
    assert not Path(os.environ["ONE_AUTH"]).exists()
    assert "ONE_LOCATION" not in os.environ
    assert Path.home().name.startswith("onebackup-tests-")


@pytest.mark.both_versions
def test_the_front_end_plays_the_version_asked_for(front_end: process.FrontEnd, version: str) -> None:
    assert front_end.call("one.system.version").startswith(version)


def test_a_fault_asked_for_by_one_test(front_end: process.FrontEnd) -> None:
    front_end.control("fail", method="one.system.version", nth=1, code=2048, message="no", times=1000)
    with pytest.raises(process.Refused):
        front_end.call("one.system.version")


def test_does_not_reach_the_next(front_end: process.FrontEnd) -> None:
    assert front_end.call("one.system.version").startswith("7.4")


def test_a_front_end_that_was_killed(front_end: process.FrontEnd) -> None:
    front_end.kill()


def test_is_replaced_for_the_next(front_end: process.FrontEnd) -> None:
    assert front_end.call("one.system.version").startswith("7.4")


def test_a_fresh_front_end_has_no_vm(fresh_front_end: process.FrontEnd) -> None:
    assert "<VM>" not in fresh_front_end.call("one.vmpool.info", -2, -1, -1, -1)


def test_the_market_server_serves_its_folder(http_market_server: HttpMarket) -> None:
    (http_market_server.public_dir / "app").write_bytes(b"content")
    with urllib.request.urlopen(f"{http_market_server.url}/app", timeout=10) as answer:
        assert answer.read() == b"content"
