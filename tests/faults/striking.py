# SPDX-License-Identifier: Apache-2.0
"""Lets a fault happen at exactly one step of a run: sits in the proxy between onebackup and the front-end."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from sandbox.core import rpc_server
from tests.e2e.proxy import Answer, Cut
from tests.faults import fault_kinds
from tests.faults.call_steps import Trace
from tests.faults.meddling import Meddler
from tests.faults.settling import settle

if TYPE_CHECKING:
    from tests.faults.rig import Rig

LATE_S = 0.7
_DAY_S = 86400


class Striker:
    """A watcher of the proxy. `trace`: the steps so far; `hit`: whether the fault has happened."""

    def __init__(self, rig: Rig, step: str, fault: str, meddler: Meddler | None) -> None:
        self.rig, self.step, self.fault, self.meddler = rig, step, fault, meddler
        self.trace, self.hit = Trace(), False
        self.problems: list[BaseException] = []
        self._method = step.split("@")[0].rsplit(".", 1)[0]
        self._released = threading.Event()
        self._away = False
        self._current: dict[int, tuple[str, bool]] = {}

    def __call__(self, call: str, parameters: tuple[Any, ...], when: str) -> None:
        if self._released.is_set():
            return
        if when == "before":
            self._current[threading.get_ident()] = self.trace.name(call, parameters)
        name, first = self._current[threading.get_ident()]
        if self._away:
            raise Cut
        again = self.hit and self.fault.endswith("-for-good") and call.replace(" ", ":") == self._method
        if (name == self.step and first) or again:
            try:
                self._strike(call, when)
            except (Cut, Answer):
                raise
            except BaseException as error:
                self.problems.append(error)

    def release(self) -> None:
        """The run has ended: nobody waits any more, later calls pass."""
        self._released.set()

    def _strike(self, call: str, when: str) -> None:
        fault = self.fault.replace("-for-good", "")
        at_end = fault.endswith("-after") or fault == "driver-dies"
        if at_end != (when == "after"):
            return
        self.hit = True
        refusal = re.fullmatch(r"refuse-(\d+)", fault)
        if refusal:
            message = f"[{call.split()[0]}] Refused on request."
            raise Answer(rpc_server.result_xml((False, message, int(refusal[1]), -1)).encode())
        simple: dict[str, Callable[[], None]] = {
            "fault": self._answer_fault, "hang": self._hang, "late": lambda: time.sleep(LATE_S), "cut": self._cut,
            "kill": self._kill, "front-end-dies": self._restart, "front-end-stays-away": self._stay_away,
            "disk-full": self.rig.fill_disk, "disk-full-in-recover": self.rig.fill_disk,
            "store-gone": lambda: self.rig.gate().shut(), "store-breaks-off": lambda: self.rig.gate().break_off(),
            "driver-dies": self._kill_driver, "clock-forward": lambda: self.rig.step_clock(_DAY_S),
            "clock-back": lambda: self.rig.step_clock(-_DAY_S),
            "terminate-signal": lambda: self.rig.signal(signal.SIGTERM),
        }  # fmt: skip
        plain = re.sub(r"-(before|after|501)$", "", fault)
        if plain in simple:
            simple[plain]()
        elif fault.startswith("machine-"):
            self._fail_machine(fault)
        elif self.meddler is not None:
            self.meddler.meddle(fault[: -len("-after")] if at_end else fault)

    def _answer_fault(self) -> None:
        raise Answer(rpc_server.fault_xml(-501, "Fault on request").encode())

    def _hang(self) -> None:
        self._released.wait(120)
        raise Cut

    def _cut(self) -> None:
        raise Cut

    def _kill(self) -> None:
        self.rig.signal(signal.SIGKILL)
        raise Cut

    def _restart(self) -> None:
        self.rig.kill_front_end()
        self.rig.revive_front_end()
        raise Cut

    def _stay_away(self) -> None:
        self._away = True
        self.rig.kill_front_end()
        raise Cut

    def _kill_driver(self) -> None:
        """A marketplace driver is killed; one that has ended already was too quick for this."""
        self.hit = settle(lambda: any(map(_kill_if_driver, _children(self.rig.front_end.pid))), 2.0)

    def _fail_machine(self, fault: str) -> None:
        what = fault_kinds.MACHINES[self._method]
        if fault == "machine-too-slow":
            self.rig.front_end.control("slow", what=what, seconds=6)
            return
        self.rig.front_end.control("next", what=what, result="fail", times=1 if fault == "machine-fails" else 1000)


def _children(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task")
    found: list[int] = []
    for task in text.iterdir():
        with suppress(OSError):  # that thread has ended
            found += map(int, (task / "children").read_text().split())
    return found


def _kill_if_driver(pid: int) -> bool:
    """Market drivers have the request, as Base64, in their arguments."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if not any(len(word) > 400 for word in words):
            return False
        os.killpg(pid, signal.SIGKILL)
        return True
    except (OSError, ValueError):
        return False
