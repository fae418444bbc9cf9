# SPDX-License-Identifier: Apache-2.0
"""A small seeded mutation loop: what a fuzzer does,
    for where atheris is not installed and for continuous integration."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType

_TOKENS = [
    b"\0", b"\n", b"\r\n", b"\x1b[2J", b"\xc2\x9b", "\u202e".encode(), b"\xff", b"\xed\xa0\x80", b"\xc2\xb2",
    b" " * 1000,
    b"]]>", b"<![CDATA[", b"<!--", b"-->", b"<?x?>", b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;",
    b"&#" + b"9" * 5000 + b";",
    b"</VALUE></PARAMETER>", b"<PARAMETER><POSITION>2</POSITION><TYPE>IN</TYPE><VALUE>",
    b"1" * 5000, b"-1", b"1e999", b"NaN", b"Infinity", b"9223372036854775808", b"2147483648",
    b"../../../etc/passwd", b"/etc/passwd", b"[" * 2000, b'{"a":' * 2000, b"&a [*a, *a]",
    b"!!python/object/apply:os.system [id]", b'"', b"'", b"\\", b"%s%n", b"${x}", b"`id`", b"$(id)",
    b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x7f\xff\xff\xff\xff\xff\xff\xff",
]  # fmt: skip
_LONGEST = 200_000


class TooSlow(BaseException):
    """One input took longer than it may."""


@dataclass(frozen=True)
class Finding:
    data: bytes
    error: BaseException


def mutated(chance: random.Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    """Some random changes: bytes, pieces, tokens, parts of other seeds."""
    found = bytearray(data)
    for _ in range(1 + int(chance.expovariate(0.5))):
        place, kind = chance.randrange(len(found) + 1), chance.randrange(8)
        length = min(int(chance.expovariate(0.1)) + 1, 400)
        if kind == 0 and found:
            found[place % len(found)] = chance.randrange(256)
        elif kind == 1:
            del found[place : place + length]
        elif kind == 2:
            found[place:place] = chance.randbytes(min(length, 20))
        elif kind in (3, 4):
            found[place : place + chance.choice((0, 0, length))] = chance.choice(_TOKENS)
        elif kind == 5:
            found[place:place] = found[place : place + length] * chance.choice((1, 1, 2, 50))
        elif kind == 6 and others:
            other = chance.choice(others)
            start = chance.randrange(len(other) + 1)
            found[place : place + length] = other[start : start + length]
        elif found:
            found[place % len(found)] ^= 1 << chance.randrange(8)
    return bytes(found[:_LONGEST])


def timed(run: Callable[[bytes], None], data: bytes, deadline_s: float) -> None:
    """Run once; raises TooSlow, or what `run` raises."""

    def late(_: int, __: FrameType | None) -> None:
        raise TooSlow(f"longer than {deadline_s} s")

    old = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, deadline_s)
    try:
        run(data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def loop(
    run: Callable[[bytes], None], seeds: Iterable[bytes], seed: int, seconds: float, most: int, deadline_s: float = 20.0
) -> tuple[int, list[Finding]]:
    """How often it was run, and the first inputs that it did not survive (one for each kind of error)."""
    chance, pool, kinds = random.Random(seed), tuple(seeds) or (b"",), set()
    findings: list[Finding] = []
    count, end = 0, time.monotonic() + seconds
    while count < len(pool) or (count < most and time.monotonic() < end):
        data = pool[count] if count < len(pool) else mutated(chance, chance.choice(pool), pool)
        count += 1
        try:
            timed(run, data, deadline_s)
        except (Exception, TooSlow) as error:
            kind = (type(error), str(error)[:40])
            if kind not in kinds:
                kinds.add(kind)
                findings.append(Finding(data, error))
    return count, findings
