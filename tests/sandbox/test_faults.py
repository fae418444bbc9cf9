# SPDX-License-Identifier: Apache-2.0
"""The control interface: refused, faulty, hanging and dropped calls, the death of the emulator."""
from __future__ import annotations

import http.client
import socket
import time
import xmlrpc.client

import pytest

from sandbox.process import FrontEnd, Refused
from tests.sandbox import driving


def test_fail_the_second_call(front_end: FrontEnd) -> None:
    front_end.control("fail", method="one.system.version", nth=2, code=2048, message="not now", times=2)
    answers = [driving.refusal(lambda: front_end.call("one.system.version")) for _ in range(4)]
    refusal = (2048, "[one.system.version] not now")
    assert answers == [(0, ""), refusal, refusal, (0, "")]


def test_fault(front_end: FrontEnd) -> None:
    front_end.control("fault", method="one.zonepool.info", code=-504, message="broken")
    with pytest.raises(xmlrpc.client.Fault) as caught:
        front_end.call("one.zonepool.info")
    assert (caught.value.faultCode, caught.value.faultString) == (-504, "broken")


def test_delay(front_end: FrontEnd) -> None:
    front_end.control("delay", method="one.system.version", seconds=0.3)
    started = time.monotonic()
    front_end.call("one.system.version")
    assert time.monotonic() - started > 0.29


def test_hang_does_not_stop_others(front_end: FrontEnd) -> None:
    front_end.control("hang", method="one.system.version", seconds=None)
    connection = http.client.HTTPConnection("127.0.0.1", front_end.port, timeout=0.5)
    body = xmlrpc.client.dumps((front_end.session,), "one.system.version")
    connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
    with pytest.raises(socket.timeout):
        connection.getresponse()
    assert front_end.call("one.system.version") == "7.4.0"


@pytest.mark.parametrize(("when", "made"), [("before", False), ("after", True)])
def test_drop(front_end: FrontEnd, when: str, made: bool) -> None:
    front_end.control("drop", method="one.template.allocate", when=when)
    name = driving.name("dropped")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        front_end.call("one.template.allocate", f'NAME="{name}"')
    assert (name in front_end.call("one.templatepool.info", -2, -1, -1)) is made


@pytest.mark.parametrize(("when", "made"), [("before", False), ("after", True)])
def test_kill_and_restart(fresh_front_end: FrontEnd, when: str, made: bool) -> None:
    fresh_front_end.control("kill", method="one.template.allocate", when=when)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        fresh_front_end.call("one.template.allocate", 'NAME="kept"')
    fresh_front_end.restart()
    assert ("kept" in fresh_front_end.call("one.templatepool.info", -2, -1, -1)) is made


def test_log_and_count(fresh_front_end: FrontEnd) -> None:
    fresh_front_end.call("one.system.version")
    with pytest.raises(Refused):
        fresh_front_end.call("one.vm.info", 5)
    log = [(call["method"], call["ok"], call["code"]) for call in fresh_front_end.control("log")]
    assert log == [("one.system.version", True, 0), ("one.vm.info", False, 1024)]
    assert fresh_front_end.control("count", method="one.vm.info") == 1


def test_bad_control_requests_are_told(front_end: FrontEnd) -> None:
    with pytest.raises(ValueError, match="unknown command"):
        front_end.control("explode")
    with pytest.raises(ValueError, match="needs a method"):
        front_end.control("fail")


def test_wire_faults(front_end: FrontEnd) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        front_end.call("one.nothing.info", 1)
    assert (caught.value.faultCode, caught.value.faultString) == (-506, "Method 'one.nothing.info' not defined")
    for arguments in ((), ("1",), (True,)):
        with pytest.raises(xmlrpc.client.Fault) as caught:
            front_end.call("one.vm.info", *arguments)
        assert caught.value.faultCode == -501
    connection = http.client.HTTPConnection("127.0.0.1", front_end.port, timeout=5)
    connection.request("POST", "/RPC2", "<methodCall><broken", {"Content-Type": "text/xml"})
    answer = connection.getresponse().read().decode()
    assert "-503" in answer
    connection.request("POST", "/RPC2", xmlrpc.client.dumps((front_end.session,), "one.system.version"))
    assert "7.4.0" in connection.getresponse().read().decode()


def test_bad_sessions(front_end: FrontEnd) -> None:
    for session in ("oneadmin:wrong", "nobody:pw", "oneadmin", "", ":"):
        with driving.refused(256, "[one.vm.info] User couldn't be authenticated, aborting call."):
            front_end.call("one.vm.info", 0, session=session or " ")


def test_values_that_break_the_stored_xml_are_refused(front_end: FrontEnd) -> None:
    text = f"<T><NAME>{driving.name('t')}</NAME><A>x]]&gt;y</A></T>"
    with driving.refused(16384, "Error transforming the Template to XML."):
        front_end.call("one.template.allocate", text)
