# SPDX-License-Identifier: Apache-2.0
"""The VM pool read page by page from a server that plays what a large pool does."""

from __future__ import annotations

import threading
import xmlrpc.client
from collections.abc import Callable, Iterator
from pathlib import Path
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

import pytest
from lxml import etree

from onebackup_driver import errors, pool, pool_vm, states, xml_rpc
from onebackup_driver.frontend import FrontEnd

RECORDINGS = Path(__file__).parent / "data" / "recordings"
SESSION = "oneadmin:password"


class Quiet(SimpleXMLRPCRequestHandler):
    rpc_paths = ("/RPC2",)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Pool:
    """`ids` as the front-end lists them; `before` is called with the number of each request before it is answered."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.requests: list[tuple[int, int]] = []
        self.before: Callable[[int], None] = lambda number: None
        self.change: Callable[[str], str] = lambda text: text
        self.server = SimpleXMLRPCServer(("127.0.0.1", 0), Quiet, logRequests=False)
        self.server.register_function(self.page, "one.vmpool.infoextended")
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def page(self, session: str, who: int, offset: int, end: int, state: int, filter: str) -> list[object]:
        assert (session, who, state) == (SESSION, -2, -1) and end < -1
        self.requests.append((offset, end))
        self.before(len(self.requests))
        machines = "".join(
            f"<VM><ID>{vm_id}</ID><NAME>v</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE><USER_TEMPLATE>"
            f"<BACKUP><FREQUENCY_SECONDS><![CDATA[60]]></FREQUENCY_SECONDS></BACKUP><VM>no</VM></USER_TEMPLATE></VM>"
            for vm_id in self.ids[offset : offset - end]
        )
        return [True, self.change(f"<VM_POOL>{machines}</VM_POOL>"), 0]


@pytest.fixture
def served() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.server.shutdown()
    made.server.server_close()


def read(served: Pool, page_vms: int = 20) -> pool.Pool:
    return pool.read(FrontEnd(f"http://127.0.0.1:{served.server.server_address[1]}/RPC2", SESSION, 10, 1), page_vms)


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 19, 20, 21, 30, 45, 200])
@pytest.mark.parametrize("descending", [False, True])
def test_all_vms_are_read_once(served: Pool, count: int, descending: bool) -> None:
    served.ids = sorted((7 * number for number in range(1, count + 1)), reverse=descending)
    found = read(served)
    assert [machine.vm_id for machine in found.machines] == sorted(served.ids)
    assert found.total == count


def test_vms_that_come_and_go_meanwhile_make_none_be_missed(served: Pool) -> None:
    served.ids = list(range(100, 0, -1))

    def change(number: int) -> None:
        if number == 2:
            served.ids.insert(0, 101)  # all others move on by one
        if number == 4:
            for gone in (99, 98, 97):
                served.ids.remove(gone)  # all others move back by three

    served.before = change
    found = {machine.vm_id for machine in read(served).machines}
    assert set(range(1, 97)) | {100} <= found


def test_a_pool_that_moves_too_much_is_read_again_and_then_given_up(served: Pool) -> None:
    served.ids = list(range(100, 0, -1))

    def change_once(number: int) -> None:
        if number == 2:
            del served.ids[:60]

    served.before = change_once
    assert {machine.vm_id for machine in read(served).machines} == set(range(1, 41))
    served.ids = list(range(100, 0, -1))
    served.before = lambda number: served.ids.reverse()
    with pytest.raises(pool.Unreadable, match="changed all the time"):
        read(served)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace("<ID>", "<NO>").replace("</ID>", "</NO>"),
        lambda text: text.replace("<ID>3</ID>", "<ID>three</ID>"),
        lambda text: text + text,
    ],
)
def test_a_damaged_page_is_an_error(served: Pool, change: Callable[[str], str]) -> None:
    served.ids = [1, 2, 3, 4]
    served.change = change
    with pytest.raises(pool.Unreadable, match="cannot be read"):
        read(served)


def test_an_empty_page_where_the_pool_goes_on_is_an_error(served: Pool) -> None:
    def every_second(number: int) -> None:
        served.ids = [] if number % 2 == 0 else list(range(1, 60))

    served.before = every_second
    with pytest.raises(pool.Unreadable):
        read(served)


def test_a_refused_page_is_the_front_ends_error(served: Pool) -> None:
    served.server.register_function(lambda *given: [False, "no database", 4096], "one.vmpool.infoextended")
    with pytest.raises(errors.CallRefused, match="no database"):
        read(served)


@pytest.mark.parametrize("version", ["6.4", "7.4"])
def test_a_recorded_pool(version: str) -> None:
    path = RECORDINGS / version / "xmlrpc" / "029-one.vmpool.infoextended.response.xml"
    (answer,) = xml_rpc.decode(path.read_bytes())
    assert answer == xmlrpc.client.loads(path.read_text(encoding="utf-8"))[0][0]
    element = etree.fromstring(str(answer[1]).encode())
    found = [pool_vm.parse(item) for item in element]
    machine = next(item for item in found if item is not None)
    assert machine.state == states.RUNNING and machine.datastore_ids == (1,) and machine.size_mb == 1024
    assert machine.host_id == 0 and machine.lock_level == 0 and machine.uid == 0
    assert machine.backup is not None and machine.backup["FREQUENCY_SECONDS"] == "86400"
    assert None in found, "a VM without BACKUP is not kept"


@pytest.mark.parametrize(
    "value", [[True, "a <b> & \"c\" ]]> 'd' é\n", 0], [False, "no", 1024, -1], [True, 7, 0], [True, "", 0], [1.5, []]]
)
def test_answers_are_decoded_as_the_library_does(value: list[object]) -> None:
    content = xmlrpc.client.dumps((value,), methodresponse=True).encode()
    assert xml_rpc.decode(content) == xmlrpc.client.loads(content)[0] == (value,)


def test_a_fault_and_garbage_are_errors() -> None:
    with pytest.raises(xmlrpc.client.Fault, match="no method"):
        xml_rpc.decode(xmlrpc.client.dumps(xmlrpc.client.Fault(-506, "no method")).encode())
    for content in (b"", b"<html>", b"<methodResponse></methodResponse>"):
        with pytest.raises(Exception, match="."):
            xml_rpc.decode(content)
