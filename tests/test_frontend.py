# SPDX-License-Identifier: Apache-2.0
"""Calls against a real server that answers, refuses, breaks off, keeps silent or talks rubbish."""

from __future__ import annotations

import socket
import threading
import time
import xmlrpc.client
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Callable

import pytest
from lxml import etree

from onebackup_driver import errors, frontend, paths
from tests import http_server, objects
from tests.http_server import closed, content, good, refused, rpc

Answer = Callable[[BaseHTTPRequestHandler], None]
#: Longer than any of these tests takes: an error that is tried again would run into it.
IMPATIENT, PATIENT = 0.0, 10.0


def connected(server: http_server.Server, patience_s: float = IMPATIENT, timeout_s: float = 5) -> frontend.FrontEnd:
    return frontend.FrontEnd(f"{server.url}/RPC2", "oneadmin:pa:ss", timeout_s, patience_s)


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Never answers while the test runs."""
    handler.server.book.ended.wait(20)  # type: ignore[attr-defined]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- answers ---


@pytest.mark.parametrize("value", [42, 'text <&> ü\n漢 "q"', True, ""])
def test_a_value(value: Any) -> None:
    with http_server.running(good(value)) as server:
        assert connected(server).call("one.vm.action", "resume", 42) == value
    (arguments, method) = xmlrpc.client.loads(server.bodies[0])
    assert (method, arguments) == ("one.vm.action", ("oneadmin:pa:ss", "resume", 42))
    assert server.requests == ["POST /RPC2"]


def test_arguments_arrive_as_they_are() -> None:
    given = ('VM <ü> ]]> & "q" \\\n漢😀', -1, False, 2**31 - 1)
    with http_server.running(good(1)) as server:
        connected(server).call("one.vm.update", *given)
    assert xmlrpc.client.loads(server.bodies[0])[0] == ("oneadmin:pa:ss", *given)


@pytest.mark.parametrize("version", objects.VERSIONS)
@pytest.mark.parametrize("name", ["vm-locked", "apppool", "image-saved", "datastorepool", "user"])
def test_recorded_xml_arrives_whole(version: str, name: str) -> None:
    text = (objects.DATA / version / f"{name}.xml").read_text(encoding="utf-8")
    with http_server.running(good(text)) as server:
        found = connected(server).element("one.some.info", 1)
    assert etree.tostring(found) == etree.tostring(objects.load(version, name))


def test_version_and_own_user() -> None:
    user = (objects.DATA / "7.4" / "user.xml").read_text(encoding="utf-8")
    with http_server.running(good("7.4.0"), good(user)) as server:
        front_end = connected(server)
        assert front_end.version() == "7.4.0" and front_end.own_user_id() == 0
    assert server.methods == ["one.system.version", "one.user.info"]


# --- refusals ---


@pytest.mark.parametrize(
    "code, message, kind",
    [
        (256, "[one.vm.info] User couldn't be authenticated, aborting call.", errors.AuthenticationFailed),
        (512, "[one.vm.action] User [0] : VM is locked. [4].", errors.NotAuthorized),
        (1024, "[one.vm.info] Error getting virtual machine [99999].", errors.NoSuchObject),
        (2048, "[one.vm.action] This action is not available for state RUNNING", errors.CallRefused),
        (4096, "[one.vm.action] internal", errors.CallRefused),
        (8192, "[one.vm.disksaveas] Cannot use DISK. DISK does not exist.", errors.CallRefused),
        (16384, "[one.marketapp.allocate] NAME is already taken by MARKETPLACEAPP 11", errors.CallRefused),
    ],
)
@pytest.mark.parametrize("way", ["call", "read", "repeat"])
def test_a_recorded_refusal_is_an_error_of_its_kind_at_once(
    code: int, message: str, kind: type[errors.CallRefused], way: str
) -> None:
    with http_server.running(refused(code, message)) as server, pytest.raises(errors.CallRefused) as caught:
        getattr(connected(server, PATIENT), way)("one.vm.action", "resume", 4)
    assert type(caught.value) is kind and str(caught.value).startswith(message)
    assert (caught.value.code, caught.value.method, len(server.bodies)) == (code, "one.vm.action", 1)
    assert caught.value.exit_code == errors.EXIT_REFUSED


def test_a_refusal_that_names_an_object_keeps_its_id() -> None:
    answer = rpc([False, "NAME is already taken by IMAGE 21.", 16384, 21, -1])
    with http_server.running(answer) as server, pytest.raises(errors.CallRefused) as caught:
        connected(server).call("one.image.allocate", "", 1)
    assert caught.value.object_id == 21


@pytest.mark.parametrize("code", [-506, -501])
def test_a_fault_is_a_refusal(code: int) -> None:
    fault = xmlrpc.client.Fault(code, "Method 'one.vm.backup' not defined")
    with http_server.running(rpc(fault)) as server, pytest.raises(errors.CallRefused) as caught:
        connected(server, PATIENT).call("one.vm.backup", 1, 2, False)
    assert "Method 'one.vm.backup' not defined" in str(caught.value)
    assert (caught.value.code, len(server.bodies)) == (code, 1)


# --- not reached: certainly not executed ---


@pytest.mark.parametrize("way", ["call", "read"])
def test_nobody_listens(way: str) -> None:
    endpoint = f"http://127.0.0.1:{unused_port()}/RPC2"
    with pytest.raises(errors.Unreachable, match="cannot reach the front-end at") as caught:
        getattr(frontend.FrontEnd(endpoint, "a:b", 5, IMPATIENT), way)("one.vm.action", "resume", 1)
    assert endpoint in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_host_nobody_knows() -> None:
    with pytest.raises(errors.Unreachable, match="no-such-front-end.invalid"):
        frontend.FrontEnd("http://no-such-front-end.invalid:2633/RPC2", "a:b", 5, IMPATIENT).call("one.vm.action", 1)


@pytest.mark.parametrize(
    "endpoint", ["localhost:2633/RPC2", "ftp://localhost/RPC2", "http://", "rubbish", "http://[::1/x"]
)
def test_an_endpoint_that_is_none(endpoint: str) -> None:
    with pytest.raises((errors.Unreachable, errors.Refused)):
        frontend.FrontEnd(endpoint, "a:b", 5, IMPATIENT).call("one.system.version")


@pytest.mark.parametrize("way", ["call", "read"])
def test_a_front_end_that_comes_up_is_waited_for(way: str) -> None:
    """Also for a change: it was certainly not executed yet."""
    port = unused_port()
    front_end = frontend.FrontEnd(f"http://127.0.0.1:{port}/RPC2", "a:b", 5, PATIENT)
    server_up = threading.Event()

    def come_up() -> None:
        time.sleep(0.3)
        with http_server.running(good(7), port=port) as server:
            server_up.wait(8)
            seen.extend(server.methods)

    seen: list[str] = []
    thread = threading.Thread(target=come_up)
    thread.start()
    try:
        assert getattr(front_end, way)("one.vm.action", "resume", 1) == 7
    finally:
        server_up.set()
        thread.join()
    assert seen == ["one.vm.action"]


# --- sent, and no answer: may have been executed ---

RUBBISH: dict[str, Answer] = {
    "closed": closed,
    "no XML": content(b"<html>proxy error"),
    "other XML": content(b"<html><body>login</body></html>"),
    "empty": content(b""),
    "not UTF-8": content(b"\xff\xfe\x00"),
    "short": content(b"<methodResponse>", length=5000),
    "HTTP 500": content(b"broken", status=500),
    "HTTP 404": content(b"", status=404),
    "HTTP 401": content(b"", status=401),
    "a number": rpc(5),
    "a text": rpc("hello"),
    "too short": rpc([True]),
    "no code": rpc([False, "message", "code"]),
    "nothing": rpc([]),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_no_usable_answer(name: str) -> None:
    with http_server.running(RUBBISH[name]) as server, pytest.raises(errors.OutcomeUnknown) as caught:
        connected(server, PATIENT).call("one.vm.action", "resume", 1)
    assert len(server.bodies) == 1, "a change is never sent twice"
    assert len(str(caught.value).splitlines()) == 1 and "one.vm.action" in f"{caught.value} {caught.value.method}"
    assert caught.value.exit_code == errors.EXIT_FAILED


@pytest.mark.parametrize("name, way", [("closed", "read"), ("short", "repeat"), ("HTTP 500", "read")])
def test_what_may_be_repeated_is_tried_again(name: str, way: str) -> None:
    with http_server.running(RUBBISH[name], good("7.4.0")) as server:
        assert getattr(connected(server, PATIENT), way)("one.system.version") == "7.4.0"
    assert len(server.bodies) == 2


def test_patience_ends() -> None:
    with http_server.running(closed) as server:
        began = time.monotonic()
        with pytest.raises(errors.OutcomeUnknown):
            connected(server, patience_s=2.0).read("one.system.version")
        assert 0.4 < time.monotonic() - began < 8
    assert 2 <= len(server.bodies) <= 5


@pytest.mark.parametrize("way", ["call", "read"])
def test_silence_ends_with_the_time_out(way: str) -> None:
    with http_server.running(silent) as server:
        began = time.monotonic()
        with pytest.raises(errors.OutcomeUnknown, match="did not answer one.vm.action within 0.3 s"):
            getattr(connected(server, timeout_s=0.3), way)("one.vm.action", "resume", 1)
        assert 0.2 < time.monotonic() - began < 8
    assert server.methods == ["one.vm.action"]


def test_a_number_that_xml_rpc_does_not_have_is_not_sent() -> None:
    with http_server.running(good(1)) as server:
        began = time.monotonic()
        with pytest.raises(errors.Refused, match="one.vm.info cannot be called with 4294967296"):
            connected(server, PATIENT).read("one.vm.info", 2**32)
        assert time.monotonic() - began < 1
    assert server.bodies == []


@pytest.mark.parametrize("text", ["", "rubbish", "<VM><ID>1</VM>", "<VM>\x00</VM>"])
def test_objects_that_are_no_xml(text: str) -> None:
    with http_server.running(good(text.replace("\x00", "&#0;"))) as server, pytest.raises(errors.FrontEndError):
        connected(server).element("one.vm.info", 1)


# --- the session ---


def where(tmp_path: Path, content_: bytes | None) -> paths.Paths:
    auth = tmp_path / "one_auth"
    if content_ is not None:
        auth.write_bytes(content_)
    return paths.find({"ONE_AUTH": str(auth), "ONE_XMLRPC": "http://127.0.0.1:9/RPC2"})


@pytest.mark.parametrize(
    "content_, words",
    [
        (None, "cannot read the OpenNebula session .*one_auth.*ONE_AUTH"),
        (b"", "holds no 'user:password' session"),
        (b"oneadmin\n", "holds no 'user:password' session"),
        (b"\xff\xfe:", "cannot read the OpenNebula session"),
    ],
)
def test_no_session(tmp_path: Path, content_: bytes | None, words: str) -> None:
    with pytest.raises(errors.Refused, match=words) as caught:
        frontend.connect(where(tmp_path, content_), 5, IMPATIENT)
    assert len(str(caught.value).splitlines()) == 1 and "password\n" not in str(caught.value)


def test_the_session_of_the_file_is_used(tmp_path: Path) -> None:
    with http_server.running(good("7.4.0")) as server:
        found = paths.find({"ONE_AUTH": str(where(tmp_path, b"oneadmin:s:cret\n").one_auth), "ONE_XMLRPC": server.url})
        assert frontend.connect(found, 5, IMPATIENT).version() == "7.4.0"
    assert xmlrpc.client.loads(server.bodies[0])[0] == ("oneadmin:s:cret",)


def test_the_password_is_in_no_message() -> None:
    for answer in RUBBISH.values():
        with http_server.running(answer) as server, pytest.raises(errors.FrontEndError) as caught:
            frontend.FrontEnd(server.url, "oneadmin:TOPSECRET", 5, IMPATIENT).call("one.vm.action", "resume", 1)
        assert "TOPSECRET" not in str(caught.value)
