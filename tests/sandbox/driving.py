# SPDX-License-Identifier: Apache-2.0
"""Making objects in a sandbox and waiting for their states, for tests."""
from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

from lxml import etree

from sandbox.process import FrontEnd, Refused

WAIT_S = 20.0
READY, ERROR = ("1", None), ("5", None)
RUNNING, POWEROFF, SUSPENDED, STOPPED = ("3", "3"), ("8", "0"), ("5", "0"), ("4", "0")
UNDEPLOYED, DONE, HOLD, PENDING = ("9", "0"), ("6", "0"), ("2", "0"), ("1", "0")
State = tuple[Optional[str], Optional[str]]
_numbers = itertools.count(1)


def name(prefix: str) -> str:
    """A name nobody has yet."""
    return f"{prefix}-{next(_numbers)}"


def source(directory: Path, format: str = "qcow2", size_mb: int = 8) -> Path:
    """An image file below /var/tmp (datastores take files from there only)."""
    path = Path("/var/tmp") / f"sandbox-test-{directory.name}-{next(_numbers)}.{format}"
    subprocess.run(["qemu-img", "create", "-q", "-f", format, str(path), f"{size_mb}M"], check=True)
    return path


def xml(front_end: FrontEnd, kind: str, number: int, session: Optional[str] = None) -> etree._Element:
    return etree.fromstring(front_end.call(f"one.{kind}.info", number, session=session).encode())


def state(front_end: FrontEnd, kind: str, number: int) -> State:
    found = xml(front_end, kind, number)
    return found.findtext("STATE"), found.findtext("LCM_STATE")


def wait(front_end: FrontEnd, kind: str, number: int, wanted: State) -> None:
    until(lambda: state(front_end, kind, number) == wanted, lambda: f"{kind} {number} {state(front_end, kind, number)}")


def until(condition: Callable[[], bool], describe: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"did not come: {describe()}"
        time.sleep(0.01)


def image(front_end: FrontEnd, size_mb: int = 8, more: str = "", datastore: int = 1) -> int:
    """A READY image without content."""
    text = f'NAME="{name("image")}"\nSIZE="{size_mb}"\nTYPE="DATABLOCK"\n{more}'
    number = front_end.call("one.image.allocate", text, datastore)
    wait(front_end, "image", number, READY)
    return int(number)


def vm(front_end: FrontEnd, *disks: int, more: str = "", wanted: State = RUNNING) -> int:
    """A VM (without a guest process unless `more` says otherwise)."""
    drives = "".join(f'DISK=[IMAGE_ID="{number}"]\n' for number in disks)
    guest = "" if "GUEST=" in more else 'GUEST="none"\n'
    text = f'NAME="{name("vm")}"\nCPU="0.1"\nMEMORY="64"\n{drives}{guest}{more}'
    number = front_end.call("one.vm.allocate", text)
    wait(front_end, "vm", number, wanted)
    return int(number)


def act(front_end: FrontEnd, action: str, number: int, wanted: State) -> None:
    front_end.call("one.vm.action", action, number)
    wait(front_end, "vm", number, wanted)


def user(front_end: FrontEnd) -> tuple[int, str]:
    """An ordinary user: (id, session)."""
    who = name("user")
    return front_end.call("one.user.allocate", who, "pw", "", []), f"{who}:pw"


@contextmanager
def refused(code: int, message: str) -> Iterator[None]:
    """The block makes a call that is refused with this code and a message that contains this text."""
    try:
        yield
    except Refused as error:
        assert (error.code, message in error.message) == (code, True), f"{error.code} {error.message}"
        return
    raise AssertionError(f"not refused with {code} {message}")


def refusal(call: Callable[[], Any]) -> tuple[int, str]:
    """(code, message) of a refused call, (0, "") of one that succeeds."""
    try:
        call()
    except Refused as error:
        return error.code, error.message
    return 0, ""
