# SPDX-License-Identifier: Apache-2.0
"""Faults on request: refused, hanging, dropped calls; failing and slow state machines; death of the emulator."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Optional

from sandbox.core.errors import CallError, Fault

CALL_COMMANDS = ("fail", "fault", "hang", "delay", "drop", "kill")
FOR_EVER = 10.0 ** 7


class Dropped(Exception):
    """The connection shall be closed without an answer."""


@dataclass
class Rule:
    """One fault of a call: it applies to the `nth` call from now and the `times - 1` after it."""

    command: str
    options: dict[str, Any]
    seen: int = 0

    def hit(self, when: str) -> bool:
        if self.options.get("when", "before") != when:
            return False
        self.seen += 1
        first = int(self.options.get("nth") or 1)
        return first <= self.seen < first + int(self.options.get("times") or 1)


@dataclass
class Call:
    n: int
    method: str
    user: str
    ok: bool
    code: int


@dataclass
class Faults:
    """What the control calls asked for, and the log of calls."""

    rules: list[Rule] = field(default_factory=list)
    next_results: list[dict[str, Any]] = field(default_factory=list)
    slow: dict[str, float] = field(default_factory=dict)
    raft: dict[str, Any] = field(default_factory=dict)
    restricted: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, command: str, options: dict[str, Any]) -> None:
        with self.lock:
            self.rules.append(Rule(command, options))

    def clear(self) -> None:
        with self.lock:
            self.rules.clear()
            self.next_results.clear()
            self.slow.clear()
            self.raft.clear()
            self.restricted.clear()

    def apply(self, method: str, when: str) -> None:
        """Before or after a call: waits, raises CallError, Fault or Dropped, or kills this process."""
        with self.lock:
            mine = [rule for rule in self.rules if rule.options.get("method") in (method, "*")]
            hits = [rule for rule in mine if rule.hit(when)]
        for rule in hits:
            _carry_out(rule)

    def record(self, method: str, user: str, ok: bool, code: int) -> None:
        with self.lock:
            self.calls.append(Call(len(self.calls) + 1, method, user, ok, code))

    def fails(self, what: str, vm_id: Optional[int] = None) -> bool:
        """Whether the next `what` (poweroff, saveas, import …) was asked to fail; uses one of its times up."""
        with self.lock:
            for wish in self.next_results:
                if wish["what"] == what and wish.get("vm") in (None, vm_id) and wish["times"] > 0:
                    wish["times"] -= 1
                    return True
        return False

    def extra_seconds(self, what: str) -> float:
        return self.slow.get(what, 0.0)


def _carry_out(rule: Rule) -> None:
    options = rule.options
    if rule.command == "fail":
        raise CallError(int(options.get("code") or 8192), str(options.get("message") or "Refused on request."))
    if rule.command == "fault":
        raise Fault(int(options.get("code") or -500), str(options.get("message") or "Fault on request."))
    if rule.command in ("hang", "delay"):
        seconds = options.get("seconds")
        time.sleep(FOR_EVER if seconds is None else float(seconds))
    if rule.command == "drop":
        raise Dropped
    if rule.command == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
