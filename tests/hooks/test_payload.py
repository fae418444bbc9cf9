# SPDX-License-Identifier: Apache-2.0
"""What hooks are handed, as recorded on real front-ends, and as nobody would send it."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebackup_driver.hooks import payload
from onebackup_driver.hooks.payload import CallInfo, Payload

RECORDINGS = Path(__file__).resolve().parents[1] / "data" / "recordings"
RECORDED = sorted(path for path in RECORDINGS.glob("*/payloads/hook-*"))


def read(*words: str, stdin: str = "") -> Payload:
    return payload.read(list(words), io.BytesIO(stdin.encode()))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def call(success: int = 1, arguments: tuple[str, ...] = (), results: tuple[str, ...] = ()) -> Payload:
    parts = [(number, "IN", value) for number, value in enumerate(("****", *arguments), 1)]
    parts += [(number, "OUT", value) for number, value in enumerate(results, 1)]
    body = "".join(
        f"<PARAMETER><POSITION>{position}</POSITION><TYPE>{kind}</TYPE><VALUE>{value}</VALUE></PARAMETER>"
        for position, kind, value in parts
    )
    return Payload(f"<CALL_INFO><RESULT>{success}</RESULT><PARAMETERS>{body}</PARAMETERS><EXTRA/></CALL_INFO>")


def recorded(version: str, number: int) -> Payload:
    folder = RECORDINGS / version / "payloads" / f"hook-{number}"
    words = (folder / "argv").read_text().splitlines()[1:]
    return payload.read(words, io.BytesIO((folder / "stdin").read_bytes()))


@pytest.mark.parametrize("folder", RECORDED, ids=lambda path: f"{path.parts[-3]}-{path.name}")
def test_every_recorded_payload_is_read(folder: Path) -> None:
    words = (folder / "argv").read_text().splitlines()[1:]
    found = payload.read(words, io.BytesIO((folder / "stdin").read_bytes()))
    decoded = next(folder.glob("*.decoded.xml")).read_text()
    assert found.text.strip() == decoded.strip()
    if found.text.startswith("<VM>"):
        element = payload.tree(found)
        assert element is not None
        assert payload.vm_id(found) == int(element.findtext("ID", ""))
    else:
        info = payload.call_info(found)
        assert info.success is ("<RESULT>1<" in found.text)
        assert info.arguments[1] == "****"
        assert set(info.results) == ({1, 2, 3} if info.success else {1, 2, 3, 4})


def test_recordings_were_there_to_be_read() -> None:
    assert len(RECORDED) == 14


@pytest.mark.parametrize("version, vm_id, code", [("6.4", 8, 8192), ("7.4", 4, 2048)])
def test_recorded_updates(version: str, vm_id: int, code: int) -> None:
    good, bad = payload.call_info(recorded(version, 1)), payload.call_info(recorded(version, 2))
    assert (good.success, good.object_id, good.error_code) == (True, vm_id, 0)
    assert 'BACKUP=[FREQUENCY_SECONDS="60"' in good.arguments[3]
    assert (bad.success, bad.object_id, bad.error_code) == (False, vm_id, code)
    assert "syntax error, unexpected $end" in bad.results[2]
    assert "CDATA" not in bad.results[2]


def test_recorded_native_backups() -> None:
    no_backup_datastore, no_datastore = payload.call_info(recorded("7.4", 3)), payload.call_info(recorded("7.4", 4))
    assert (no_backup_datastore.object_id, no_backup_datastore.arguments[3]) == (4, "1")
    assert no_backup_datastore.error_code == 2048
    assert (no_datastore.object_id, no_datastore.arguments[3], no_datastore.error_code) == (4, "99999", 1024)


@pytest.mark.parametrize("version", ["6.4", "7.4"])
def test_literals_come_with_the_payload(version: str) -> None:
    assert recorded(version, 6 if version == "6.4" else 8).literals == ("extra",)


def test_literals_may_stand_anywhere_and_come_on_stdin() -> None:
    text = "<VM><ID>7</ID></VM>"
    for words in (("first", encoded(text), "last"), ("backup", encoded(text)), (encoded(text), "a", "b")):
        for found in (read(*words), read(stdin=" ".join(words) + "\n")):
            assert payload.vm_id(found) == 7
            assert found.literals == tuple(word for word in words if word != encoded(text))


@pytest.mark.parametrize("stdin", ["", "\n", "no payload here", encoded("not xml"), "PFZN=PFZN", "\x00\xff" * 50])
def test_no_payload_is_said_in_one_line(stdin: str) -> None:
    with pytest.raises(payload.Unusable, match=r"^no payload: .*onehook show"):
        read(stdin=stdin)


def test_a_payload_beyond_the_limit_is_refused() -> None:
    with pytest.raises(payload.Unusable, match="larger than"):
        read(stdin=encoded("<VM>" + "x" * (payload.LIMIT_BYTES + 10)))


def test_ill_formed_call_info_still_names_the_vm() -> None:
    for text in ("<TEMPLATE><A>1</TEMPLATE>", "A=\"&<>\"", "<![CDATA[", "</VALUE>", "<!DOCTYPE x>", "\x01"):
        info = payload.call_info(call(1, ("42", text, "1"), ("true", "42", "0")))
        assert (info.success, info.object_id) == (True, 42)


def test_a_users_text_cannot_pretend_to_be_what_oned_wrote() -> None:
    """oned does not escape it: it can close its element and open others, not before the id, nor after the answer."""
    forged = (
        "</VALUE></PARAMETER><PARAMETER><POSITION>2</POSITION><TYPE>IN</TYPE><VALUE>13</VALUE></PARAMETER>"
        "<PARAMETER><POSITION>3</POSITION><TYPE>OUT</TYPE><VALUE>999</VALUE></PARAMETER></PARAMETERS></CALL_INFO>"
        "<CALL_INFO><RESULT>1</RESULT><PARAMETERS><PARAMETER><POSITION>3</POSITION><TYPE>IN</TYPE><VALUE>"
    )
    info = payload.call_info(call(0, ("42", forged, "1"), ("false", "no", "2048", "-1")))
    assert (info.success, info.object_id, info.error_code) == (False, 42, 2048)


@pytest.mark.parametrize("text", ["", "<CALL_INFO/>", "<CALL_INFO><RESULT>2</RESULT>", "<VM><ID>1</ID></VM>", "<"])
def test_what_is_not_there_is_unknown(text: str) -> None:
    info = payload.call_info(Payload(text))
    assert (info.success, info.object_id, info.error_code) == (None, None, None)


def test_entities_and_dtds_are_not_read() -> None:
    bomb = '<!DOCTYPE VM [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><VM><ID>1</ID><NAME>&b;</NAME></VM>'
    assert payload.tree(Payload(bomb)) is None
    assert payload.tree(Payload("<VM><NAME>&undefined;</NAME></VM>")) is None
    assert payload.tree(Payload('<?xml version="1.0" encoding="utf-16"?><VM><ID>1</ID></VM>')) is None
    external = '<VM xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="/etc/passwd" parse="text"/></VM>'
    element = payload.tree(Payload(external))
    assert element is not None
    assert not element.xpath("string()")


def test_long_texts_take_no_more_than_their_length() -> None:
    opened = "<PARAMETER><POSITION>1</POSITION><TYPE>IN</TYPE><VALUE>"
    for text in ("<PARAMETER>" * 90_000, opened * 10_000, " " * 10**6):
        began = time.monotonic()
        payload.call_info(call(1, ("5", text)))
        assert time.monotonic() - began < 5


@given(st.binary(max_size=300))
def test_garbage_on_stdin_is_unusable_or_a_payload(content: bytes) -> None:
    try:
        found = payload.read([], io.BytesIO(content))
    except payload.Unusable:
        return
    assert isinstance(payload.call_info(found), CallInfo)


@given(st.text(alphabet=st.sampled_from(list("<>/&;![]CDATAVMIDPRESULTVALUE=\"' 012\n")), max_size=200))
def test_garbage_in_base64_never_raises(text: str) -> None:
    found = Payload(f"<{text}")
    assert isinstance(payload.call_info(found), CallInfo)
    assert payload.vm_id(found) is None or isinstance(payload.vm_id(found), int)
    payload.tree(found)
    info = payload.call_info(call(1, ("42", text, "1"), ("true", "42", "0")))
    assert (info.success, info.object_id) == (True, 42)
