# SPDX-License-Identifier: Apache-2.0
"""Plays a recorded session against a sandbox: ids and paths translated, states waited for as the recorder did."""
from __future__ import annotations

import re
import time
import xmlrpc.client
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.process import FrontEnd, Refused
from tests.sandbox import comparison
from tests.sandbox.recordings import Exchange

WAIT_S = 20.0
MADE = {"one.vm.disksaveas": "image", "one.template.instantiate": "vm"}
# Attributes of template texts that hold ids.
IN_TEXT = {"IMAGE_ID": "image", "ORIGIN_ID": "image", "FROM_APP": "marketapp", "NETWORK_ID": "vn",
           "MARKETPLACE_ID": "market"}
# The recorder did these while something else was still under way.
AT_ONCE = ("just allocated", "source image still LOCKED", "second saveas", "resume while saveas", "just instantiated")
IN_MESSAGE = {"VM": "vm", "IMAGE": "image", "MARKETPLACEAPP": "marketapp", "User": "user", "marketplace": "market",
              "marketplaceapp": "marketapp"}


@dataclass
class Answer:
    """What our front-end said to one recorded call."""

    ok: bool
    value: Any
    code: int
    object_id: int | None


@dataclass
class Replay:
    """A session under way; `ids` maps recorded ids to ours, kind by kind."""

    front_end: FrontEnd
    texts: dict[str, str]
    ids: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    bob: str = ""

    def play(self, exchange: Exchange) -> Answer:
        """Makes the call when its time has come and remembers the id it made."""
        session, arguments = self.arguments(exchange)
        if not is_at_once(exchange):
            self.settle()
        answer = self._call(exchange, session, arguments)
        if answer.ok and exchange.ok:
            self._learn(exchange, answer)
        return answer

    def _call(self, exchange: Exchange, session: str, arguments: list[Any]) -> Answer:
        deadline = time.monotonic() + WAIT_S
        while True:
            answer = self._once(exchange.method, session, arguments)
            if self.in_time(exchange, answer) or time.monotonic() > deadline:
                return answer
            time.sleep(0.01)

    def _once(self, method: str, session: str, arguments: list[Any]) -> Answer:
        try:
            value = self.front_end.call(method, *arguments, session=session)
            if isinstance(value, str):
                value = value.replace(str(self.front_end.state), "/var/lib/one")
            return Answer(True, value, 0, None)
        except Refused as error:
            return Answer(False, error.message, error.code, error.object_id)
        except xmlrpc.client.Fault as fault:
            return Answer(False, fault.faultString, fault.faultCode, None)

    def in_time(self, exchange: Exchange, answer: Answer) -> bool:
        """Whether an info call shows the states (and as many hook executions) as the recorder saw."""
        if not (exchange.ok and answer.ok and isinstance(answer.value, str) and exchange.method.endswith(".info")):
            return True
        return _progress(exchange.value) == _progress(answer.value) or "pool" in exchange.method

    def settle(self) -> None:
        """Waits for what earlier calls set off, as the recorder polled it after each action."""
        for kind in ("vm", "image", "marketapp"):
            for ours in list(self.ids[kind].values()):
                self._rest(kind, ours)

    def _rest(self, kind: str, number: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                xml = comparison.parse(self.front_end.call(f"one.{kind}.info", number))
            except Refused:
                return
            state, lcm_state = xml.findtext("STATE"), xml.findtext("LCM_STATE")
            busy = {"vm": state in ("1", "10") or (state == "3" and lcm_state != "3"), "image": state in ("4", "7"),
                    "marketapp": state == "2"}
            if not busy[kind]:
                return
            time.sleep(0.01)

    def arguments(self, exchange: Exchange) -> tuple[str, list[Any]]:
        """The session and the translated arguments; those not recorded are made up from the error."""
        session = self.front_end.session
        if exchange.arguments is not None:
            return session, [self._translated(exchange, position, value)
                             for position, value in enumerate(exchange.arguments)]
        if exchange.code == 256:
            return "oneadmin:wrong", [next(iter(self.ids["vm"].values()), 0)]
        vm = next(iter(self.ids["vm"].values()))
        made_up: dict[str, list[Any]] = {"one.vm.info": [vm], "one.vm.disksaveas": [vm, 0, "bobs", "", -1],
                   "one.marketapp.allocate": ['NAME="bobs"\nTYPE="IMAGE"\nORIGIN_ID="0"', 0]}
        return f"{self.bob}:pw", made_up[exchange.method]

    def _translated(self, exchange: Exchange, position: int, value: Any) -> Any:
        kind = exchange.method.split(".")[1]
        if isinstance(value, str):
            return self.text(value) if exchange.method != "one.vmpool.infoset" else str(self._id("vm", int(value)))
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        if exchange.method == "one.marketapp.allocate":
            return self._id("market", value)
        first = 1 if exchange.method == "one.vm.action" else 0
        if position != first or kind.endswith("pool") or kind == "hooklog" or exchange.method == "one.image.allocate":
            return value
        return self._id(kind, value)

    def _id(self, kind: str, number: int) -> int:
        return self.ids[kind].get(number, number)

    def text(self, text: str) -> str:
        for recorded, ours in self.texts.items():
            text = text.replace(recorded, ours)
        return re.sub(r'(\w+)="(\d+)"', self._attribute, text)

    def _attribute(self, match: re.Match[str]) -> str:
        name, number = match.group(1), int(match.group(2))
        return f'{name}="{self._id(IN_TEXT[name], number)}"' if name in IN_TEXT else match.group(0)

    def _learn(self, exchange: Exchange, answer: Answer) -> None:
        kind = MADE.get(exchange.method)
        if exchange.method.endswith(".allocate"):
            kind = exchange.method.split(".")[1]
        if kind is not None:
            self.ids[kind][exchange.value] = answer.value
        if exchange.method == "one.user.allocate" and exchange.arguments is not None:
            self.bob = str(exchange.arguments[0])

    def message(self, text: str) -> str:
        """A recorded message with its ids translated and without the line number (garbage in real front-ends)."""
        text = re.sub(r"at line \d+", "at line #", text)
        pattern = rf"\b({'|'.join(IN_MESSAGE)})( is locked.)?( +)?(\[)?(\d+)"

        def replace(match: re.Match[str]) -> str:
            kind = IN_MESSAGE[match.group(1)]
            number = self._id(kind, int(match.group(5)))
            return "".join(group or "" for group in match.groups()[:4]) + str(number)

        return re.sub(pattern, replace, text)


def is_at_once(exchange: Exchange) -> bool:
    """Whether the recorder made this call while an earlier one was still being carried out."""
    if any(note in exchange.note for note in AT_ONCE):
        return True
    if not exchange.ok or exchange.method not in ("one.image.info", "one.marketapp.info"):
        return False
    return comparison.parse(exchange.value).findtext("STATE") in ("4", "2")


def _progress(text: str) -> tuple[str | None, str | None, int]:
    xml = comparison.parse(text)
    return xml.findtext("STATE"), xml.findtext("LCM_STATE"), len(xml.findall(".//HOOK_EXECUTION_RECORD"))


def make_sources(directory: Path) -> None:
    """The files the recorded session imports: 512 MB, one qcow2 and one raw."""
    import subprocess

    for format in ("qcow2", "raw"):
        path = directory / f"base.{format}"
        subprocess.run(["qemu-img", "create", "-q", "-f", format, str(path), "512M"], check=True)
