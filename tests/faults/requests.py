# SPDX-License-Identifier: Apache-2.0
"""Requests in the queue: how they come there in a case, and whether the queue tells the truth in the end."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from onebackup_driver import queue
from tests.faults.corner import Corner

_CALL = """<CALL_INFO><RESULT>1</RESULT><PARAMETERS>
<PARAMETER><POSITION>1</POSITION><TYPE>IN</TYPE><VALUE>****</VALUE></PARAMETER>
<PARAMETER><POSITION>2</POSITION><TYPE>IN</TYPE><VALUE>{vm_id}</VALUE></PARAMETER>
<PARAMETER><POSITION>3</POSITION><TYPE>IN</TYPE><VALUE>BACKUP=[ACTION="NOW"]</VALUE></PARAMETER>
<PARAMETER><POSITION>4</POSITION><TYPE>IN</TYPE><VALUE>1</VALUE></PARAMETER>
<PARAMETER><POSITION>1</POSITION><TYPE>OUT</TYPE><VALUE>true</VALUE></PARAMETER>
<PARAMETER><POSITION>2</POSITION><TYPE>OUT</TYPE><VALUE>{vm_id}</VALUE></PARAMETER>
</PARAMETERS></CALL_INFO>"""


def add(site: Corner, vm_id: int) -> None:
    """As a hook does it."""
    _await_next_second(site, vm_id)
    queue.add(site.state / "queue", vm_id, queue.NOW, "the fault matrix")


def ask(site: Corner, vm_id: int) -> None:
    """As a user does it: ACTION="NOW" in BACKUP."""
    _await_next_second(site, vm_id)
    section = site.info("vm", vm_id).find("USER_TEMPLATE/BACKUP")
    values = {str(item.tag): item.text or "" for item in (section if section is not None else ())}
    text = ",".join(f'{key}="{value}"' for key, value in {**values, "ACTION": "NOW"}.items())
    site.call("one.vm.update", vm_id, f"BACKUP=[{text}]", 1)


def _await_next_second(site: Corner, vm_id: int) -> None:
    """A restore point of the same second would already be what is asked for."""
    last = int(site.user_template(vm_id, "BACKUP/LAST_BACKUP_TIME"))
    while int(time.time()) <= last:
        time.sleep(0.05)


def asked(site: Corner, vm_id: int) -> bool:
    return site.user_template(vm_id, "BACKUP/ACTION") == "NOW"


def call_of_update(vm_id: int) -> str:
    """What the hook manager hands to a hook of one.vm.update."""
    return base64.b64encode(_CALL.format(vm_id=vm_id).encode()).decode()


@contextmanager
def no_worker(site: Corner, command: str) -> Iterator[None]:
    """A hook finds a worker under way, so that it starts none that would go on beside the case."""
    if command != "hook":
        yield
        return
    folder = site.state / "locks"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


def open_ones(site: Corner) -> list[str]:
    """The files of requests that have not ended, half-written ones too."""
    folder = site.state / "queue"
    return sorted(f"{name}/{item}" for name in ("waiting", "claimed") if (folder / name).is_dir()
                  for item in os.listdir(folder / name))  # fmt: skip


def outcomes(site: Corner) -> list[str]:
    """What became of the requests that ended."""
    folder = site.state / "queue" / "finished"
    return [json.loads(path.read_text())["outcome"] for path in sorted(folder.glob("*.json"))]


def forget(site: Corner) -> None:
    """What became of earlier requests is no matter of the next case."""
    for path in (site.state / "queue" / "finished").glob("*.json"):
        path.unlink()
