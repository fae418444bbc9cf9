# SPDX-License-Identifier: Apache-2.0
"""What the demonstration asks a front-end: plain XML-RPC calls, and waiting for states with a deadline."""
from __future__ import annotations

import json
import time
import urllib.request
import xmlrpc.client
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

TIMEOUT_S = 60
RUNNING, HOLD, POWEROFF, DONE = ("3", "3"), ("2", "0"), ("8", "0"), ("6", "0")
READY, USED, USED_PERSISTENT = "1", "2", "8"
SETTLED = (READY, USED, USED_PERSISTENT)


class Refused(Exception):
    """The front-end said no, or something did not come about in time; the text is one line."""


class Api:
    """A front-end as oneadmin."""

    def __init__(self, endpoint: str, auth_file: Path) -> None:
        self.endpoint = endpoint
        self.session = auth_file.read_text().strip()
        self.proxy = xmlrpc.client.ServerProxy(endpoint)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call an API method; return its value or raise Refused with the front-end's message."""
        target: Any = self.proxy
        for part in method.split("."):
            target = getattr(target, part)
        answer = target(self.session, *arguments)
        if not answer[0]:
            raise Refused(answer[1])
        return answer[1]

    def info(self, kind: str, number: int) -> ElementTree.Element:
        return ElementTree.fromstring(self.call(f"one.{kind}.info", number))

    def vm_disk(self, vm: int, disk: int) -> Path:
        """Where the disk of a deployed VM is (a question to the sandbox, not to OpenNebula)."""
        body = json.dumps({"command": "vm_disk", "vm": vm, "disk": disk}).encode()
        url = self.endpoint.replace("/RPC2", "/control")
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=TIMEOUT_S) as answer:
            return Path(json.load(answer))

    def wait_for_vm(self, vm: int, state: tuple[str, str]) -> None:
        wait(f"VM {vm} to be in state {'/'.join(state)}", lambda: self.vm_state(vm) == state)

    def vm_state(self, vm: int) -> tuple[str, str]:
        document = self.info("vm", vm)
        return text(document, "STATE"), text(document, "LCM_STATE")

    def wait_for_image(self, image: int) -> None:
        wait(f"image {image} to be READY", lambda: text(self.info("image", image), "STATE") == READY)

    def wait_for_image_settled(self, image: int) -> None:
        """Downloaded: READY, or already taken by a VM."""
        wait(f"image {image} to be there", lambda: text(self.info("image", image), "STATE") in SETTLED)

    def wait_until_gone(self, kind: str, number: int) -> None:
        wait(f"{kind} {number} to be gone", lambda: not self.exists(kind, number))

    def exists(self, kind: str, number: int) -> bool:
        try:
            self.info(kind, number)
        except Refused:
            return False
        return True


def wait(what: str, condition: Callable[[], bool]) -> None:
    """Poll until the condition holds; Refused names what did not come about."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise Refused(f"waited {TIMEOUT_S} s in vain for {what}")
        time.sleep(0.05)


def text(document: ElementTree.Element, path: str) -> str:
    """The text of an element that must be there."""
    value = document.findtext(path)
    if value is None:
        raise Refused(f"{document.tag} has no {path}")
    return value
