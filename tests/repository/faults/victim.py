# SPDX-License-Identifier: Apache-2.0
"""A process that does something to a repository and is killed (SIGKILL) at a step of the store.

It is forked from a server that has everything imported: a real process for a fraction of the start-up cost.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import Any, Optional

from onebackup_driver.repository import location
from onebackup_driver.repository.stores import base

from . import operations, steps
from .world import World

_PATIENCE_S = 90


@dataclass(frozen=True)
class Death:
    """`step`: where it was killed, "" when it was not; `count`: how many steps it took; `error`: what it raised."""

    step: str
    count: int
    error: str


@lru_cache(maxsize=1)
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.repository.faults.victim", "boto3", "botocore.auth"])
    return context


Address = tuple[str, dict[str, str]]


def run(
    operation: str, address: Address, content: World, at: int, when: str, user: Optional[int] = None, ahead_s: float = 0
) -> Death:
    """Run it in a process of its own; `at` 0: it is not killed. `user`: as whom; `ahead_s`: how wrong its clock is."""
    mine, its = _context().Pipe()
    process = _context().Process(target=_live, args=(its, operation, address, content, at, when, user, ahead_s))
    process.start()
    its.close()
    try:
        return _watch(mine, process)
    finally:
        if process.exitcode is None:
            process.kill()
        process.join()
        mine.close()


def _watch(mine: Connection, process: Any) -> Death:
    step = ""
    try:
        while mine.poll(_PATIENCE_S):
            said = mine.recv()
            if isinstance(said, Death):
                return said
            step = said
        return Death(step, 0, f"did not end within {_PATIENCE_S} s")
    except EOFError:
        process.join()
        return Death(step, 0, "" if process.exitcode == -signal.SIGKILL else f"ended with {process.exitcode}")


def _live(
    pipe: Connection, operation: str, address: Address, content: World, at: int, when: str, user: Optional[int],
    ahead_s: float,
) -> None:  # fmt: skip
    _be(user, ahead_s)

    def act(number: int, now: str, label: str) -> None:
        if number == at and now == when:
            pipe.send(label)
            os.kill(os.getpid(), signal.SIGKILL)

    store = steps.Stepped(_opened(address), act)
    if address[0].startswith("dir:"):
        _step_into_files(store)
    error: Optional[Exception] = operations.outcome(operation, store, content)
    pipe.send(Death("", store.count, f"{type(error).__name__}: {error}" if error else ""))


def _be(user: Optional[int], ahead_s: float) -> None:
    """As which user, with what time of day. The time that requests to S3 are signed with is right all the same."""
    if user is not None:
        os.setgid(user)
        os.setuid(user)
    true = time.time
    time.time = lambda: true() + ahead_s


def _step_into_files(store: steps.Stepped) -> None:
    """The system calls of a directory store that change something are steps as well."""
    for name in ("link", "unlink", "fsync", "mkdir"):
        true = getattr(os, name)
        setattr(os, name, lambda *given, _true=true, _name=name, **named: store.step(
            "file", f"{_name}", lambda: _true(*given, **named)))  # fmt: skip


def _opened(address: Address) -> base.Store:
    return location.parse(*address).open_store()
