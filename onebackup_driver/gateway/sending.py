# SPDX-License-Identifier: Apache-2.0
"""Sending a part of a file: its cells are put together a little ahead, in memory that all transfers share.

There is memory for a few cells, however many clients there are. A transfer whose client is slow keeps its cell only as
long as nobody else waits: then the cell is taken away, and put together again when the client has taken what was on its
way. So fifty slow clients cost time, not memory. All of this runs in the event loop; only cells are put together by
threads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import NamedTuple, Optional

from onebackup_driver import clock
from onebackup_driver.gateway.content import Content, Job

#: What is handed to the connection at once; each transfer has about so much on its way beside its cell.
_PIECE_BYTES = 256 * 1024
#: Jobs that a transfer is ahead, as long as it is alone.
_AHEAD = 4
#: A client that takes nothing for so long is slow.
_SLOW_S = 0.2
Write = Callable[[memoryview], Awaitable[None]]


class Loan:
    """Memory for one cell. Whose it was must not look at it any more once `is_over`."""

    def __init__(self, buffer: memoryview, borrower: Transfer):
        self.buffer, self.borrower = buffer, borrower
        self.is_over = self.is_filled = False


class Lender:
    """Memory for `count` cells, lent to transfers in turn."""

    def __init__(self, count: int):
        self._free = [memoryview(b"")] * count
        self._lent: dict[Loan, None] = {}
        self._turn, self._came_back = asyncio.Lock(), asyncio.Event()
        self.transfers = 0

    def lend_now(self, borrower: Transfer) -> Optional[Loan]:
        """Memory that nobody else needs; None when there is none."""
        return None if self._turn.locked() else self._lend(borrower)

    async def lend(self, borrower: Transfer) -> Loan:
        """Memory, at last that of a slow transfer; who came first is served first."""
        async with self._turn:
            while (loan := self._lend(borrower)) is None:
                self._came_back.clear()
                if not self._take_from_a_slow_one():
                    with suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self._came_back.wait(), _SLOW_S / 2)
            return loan

    def end(self, loan: Loan) -> None:
        """Take memory back; what a thread still writes to, once that is over."""
        loan.is_over = True
        if loan.is_filled and self._lent.pop(loan, loan) is None:
            self._free.append(loan.buffer)
            self._came_back.set()

    def end_all(self, borrower: Transfer) -> None:
        """Take back what a transfer has."""
        for loan in [loan for loan in self._lent if loan.borrower is borrower]:
            self.end(loan)

    def filled(self, loan: Loan) -> None:
        """Nothing is written to it any more."""
        loan.is_filled = True
        if loan.is_over:
            self.end(loan)

    def _lend(self, borrower: Transfer) -> Optional[Loan]:
        if not self._free:
            return None
        buffer, size = self._free.pop(), borrower.cell_bytes
        loan = Loan(buffer if len(buffer) >= size else memoryview(bytearray(size)), borrower)
        self._lent[loan] = None
        return loan

    def _take_from_a_slow_one(self) -> bool:
        """What is needed last comes first."""
        for loan in reversed(list(self._lent)):
            if loan.is_filled and not loan.is_over and loan.borrower.is_slow():
                self.end(loan)
                return True
        return False


class _Prepared(NamedTuple):
    """A job with its bytes: `parts` now, or as soon as a thread has put its cell together."""

    job: Job
    loan: Optional[Loan]
    parts: asyncio.Future[list[memoryview]]


class Transfer:
    """One transfer of the bytes from `begin` to before `end`; `run` is called once."""

    def __init__(self, lender: Lender, pool: Executor, content: Content, begin: int, end: int):
        self.cell_bytes = content.disk.cell_bytes
        self._lender, self._pool, self._content = lender, pool, content
        self._position, self._end = begin, end
        self._jobs: Iterator[Job] = iter(())
        self._next_job: Optional[Job] = None
        self._ahead: deque[_Prepared] = deque()
        self._waits_since: Optional[float] = None

    def is_slow(self) -> bool:
        """Whether the client has taken nothing for a while."""
        return self._waits_since is not None and clock.monotonic() - self._waits_since > _SLOW_S

    async def run(self, write: Write) -> None:
        """Write all of it; `write` waits for the client. Raises Damaged, Missing, StoreFailed and what `write` does."""
        self._lender.transfers += 1
        try:
            while self._position < self._end:
                self._begin_at(self._position)
                while (prepared := await self._prepared()) is not None:
                    if not await self._written(prepared, write):
                        break
        finally:
            self._forget()
            self._lender.transfers -= 1

    async def _written(self, prepared: _Prepared, write: Write) -> bool:
        """False when its memory was taken away before its end."""
        for part in await prepared.parts:
            for start in range(0, len(part), _PIECE_BYTES):
                if prepared.loan is not None and prepared.loan.is_over:
                    return False
                piece = part[start : start + _PIECE_BYTES]
                self._position += len(piece)
                self._waits_since = clock.monotonic()
                # a copy: the connection may keep it for longer than the memory is ours
                await write(piece if piece.readonly else memoryview(bytes(piece)))
                self._waits_since = None
        if prepared.loan is not None:
            self._lender.end(prepared.loan)
        return True

    async def _prepared(self) -> Optional[_Prepared]:
        """The next job, begun; None at the end."""
        self._prepare_ahead()
        if not self._ahead:
            if self._next_job is None:
                return None
            self._begin(await self._lender.lend(self))
            self._prepare_ahead()
        return self._ahead.popleft()

    def _prepare_ahead(self) -> None:
        """Begin as many jobs as there is memory for that nobody else needs."""
        while self._next_job is not None and len(self._ahead) < max(1, _AHEAD // self._lender.transfers):
            loan = self._lender.lend_now(self) if self._next_job.number >= 0 else None
            if loan is None and self._next_job.number >= 0:
                return
            self._begin(loan)

    def _begin(self, loan: Optional[Loan]) -> None:
        """Have the next job carried out: by a thread, when it is that of a cell."""
        job, loop = self._next_job, asyncio.get_running_loop()
        assert job is not None
        self._next_job = next(self._jobs, None)
        parts: asyncio.Future[list[memoryview]] = loop.create_future()
        if loan is None:
            parts.set_result(self._content.carry_out(job, memoryview(b"")))
        else:
            parts = asyncio.wrap_future(self._begun(job, loan, loop))
        self._ahead.append(_Prepared(job, loan, parts))

    def _begun(self, job: Job, loan: Loan, loop: asyncio.AbstractEventLoop) -> Future[list[memoryview]]:
        work = self._pool.submit(self._content.carry_out, job, loan.buffer)

        def done(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(self._lender.filled, loan)

        work.add_done_callback(done)
        return work

    def _begin_at(self, position: int) -> None:
        self._forget()
        self._jobs = self._content.jobs(position, self._end)
        self._next_job = next(self._jobs, None)

    def _forget(self) -> None:
        """Give back all memory."""
        for prepared in self._ahead:
            if not prepared.parts.cancel() and not prepared.parts.cancelled():
                prepared.parts.exception()  # of what is not wanted any more
        self._ahead.clear()
        self._lender.end_all(self)
