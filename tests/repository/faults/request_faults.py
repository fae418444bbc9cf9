# SPDX-License-Identifier: Apache-2.0
"""What a server, or what is between, can do to one request. See proxy.Exchange."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from .proxy import Answer, Exchange, Fault

_XML = "<?xml version='1.0'?><Error><Code>{0}</Code><Message>{0}</Message><RequestId>1</RequestId></Error>"
_ENTRY = re.compile(rb"<Contents>.*?</Contents>", re.S)


class Kind(NamedTuple):
    """`heals`: when it happens once, the operation must end well. `only`: labels of requests it applies to. `hidden`:
    nobody can tell, so what is listed may be wrong; what is stored may not."""

    fault: Fault
    heals: bool
    only: Callable[[str], bool] = lambda label: True
    hidden: bool = False


def _error(status: int, code: str) -> Answer:
    return Answer(status, [("Content-Type", "application/xml")], _XML.format(code).encode())


def _refusing(status: int, code: str, done: bool = False) -> Fault:
    def act(exchange: Exchange) -> None:
        if done:
            exchange.forward()
        exchange.reply(_error(status, code))

    return act


def _reset(exchange: Exchange) -> None:
    exchange.reset()


def _reset_after(exchange: Exchange) -> None:
    exchange.forward()
    exchange.reset()


def _hang(exchange: Exchange) -> None:
    exchange.hang()


def _hang_after(exchange: Exchange) -> None:
    exchange.forward()
    exchange.hang()


def _cut_off(exchange: Exchange) -> None:
    """The answer breaks off in the middle of its body."""
    answer = exchange.forward()
    exchange.reply(answer, len(answer.body) // 2)


def _shorter(exchange: Exchange) -> None:
    """Half a body that claims to be all of it."""
    answer = exchange.forward()
    answer.body = answer.body[: len(answer.body) // 2]
    exchange.reply(answer)


def _flipped(exchange: Exchange) -> None:
    """One bit of the answer's body is another one."""
    answer = exchange.forward()
    answer.body = _flip(answer.body)
    exchange.reply(answer)


def _flipped_upload(exchange: Exchange) -> None:
    exchange.body = _flip(exchange.body)
    exchange.reply(exchange.forward())


def _flip(data: bytes) -> bytes:
    changed, place = bytearray(data), len(data) * 5 // 8
    if changed:
        changed[place] ^= 4
    return bytes(changed)


def _no_next_page(exchange: Exchange) -> None:
    """A listing that says it is not complete, and not how to go on."""
    answer = exchange.forward()
    body = re.sub(rb"<NextContinuationToken>.*?</NextContinuationToken>", b"", answer.body)
    body = body.replace(b"<IsTruncated>false", b"<IsTruncated>true")
    answer.body = _without(body, lambda number, of: number == of - 1)
    exchange.reply(answer)


def _half(exchange: Exchange) -> None:
    """Every other object is missing in the listing, which claims to be complete."""
    answer = exchange.forward()
    answer.body = _without(answer.body, lambda number, of: number % 2 == 0)
    exchange.reply(answer)


def _stale(exchange: Exchange) -> None:
    """The object that was written last is missing in the listing."""
    answer = exchange.forward()
    stamps = [re.findall(rb"<LastModified>(.*?)<", entry)[0] for entry in _ENTRY.findall(answer.body)]
    newest = max(stamps, default=b"")
    answer.body = _without(answer.body, lambda number, of: stamps[number] == newest)
    exchange.reply(answer)


def _without(listing: bytes, dropped: Callable[[int, int], bool]) -> bytes:
    entries = _ENTRY.findall(listing)
    for number, entry in enumerate(entries):
        if dropped(number, len(entries)):
            listing = listing.replace(entry, b"", 1)
    return re.sub(rb"<KeyCount>\d+<", b"<KeyCount>%d<" % len(_ENTRY.findall(listing)), listing)


def _is_list(label: str) -> bool:
    return label.startswith("LIST ")


def _is_get(label: str) -> bool:
    return label.startswith("GET ")


def _is_answered(label: str) -> bool:
    return _is_list(label) or _is_get(label)


def _is_upload(label: str) -> bool:
    return label.startswith("PUT ")


KINDS: dict[str, Kind] = {
    "500": Kind(_refusing(500, "InternalError"), True),
    "500 after it was done": Kind(_refusing(500, "InternalError", done=True), True),
    "503 SlowDown": Kind(_refusing(503, "SlowDown"), True),
    "403": Kind(_refusing(403, "AccessDenied"), False),
    "404": Kind(_refusing(404, "NoSuchKey"), False, lambda label: label.startswith(("GET ", "HEAD "))),
    "409": Kind(_refusing(409, "ConditionalRequestConflict"), True, _is_upload),
    "reset": Kind(_reset, True),
    "reset after it was done": Kind(_reset_after, True),
    "no answer": Kind(_hang, True),
    "no answer after it was done": Kind(_hang_after, True),
    "body cut off": Kind(_cut_off, True, _is_answered),
    "shorter body": Kind(_shorter, True, _is_answered),
    "flipped bit": Kind(_flipped, True, _is_get),
    "flipped bit in a listing": Kind(_flipped, False, _is_list, hidden=True),
    "flipped bit in an upload": Kind(_flipped_upload, False, _is_upload),
    "listing without next page": Kind(_no_next_page, False, _is_list),
    "half a listing": Kind(_half, False, _is_list, hidden=True),
    "stale listing": Kind(_stale, False, _is_list, hidden=True),
}
#: These go on from the n-th request to the end of the operation.
LASTING = ("500", "503 SlowDown", "403", "reset", "no answer")
