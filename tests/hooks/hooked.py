# SPDX-License-Identifier: Apache-2.0
"""Our hooks at a sandbox front-end: the real scripts below its remotes, registered through the API."""

from __future__ import annotations

import base64
import fcntl
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from lxml import etree

from onebackup_driver import queue
from onebackup_driver.frontend import FrontEnd
from onebackup_driver.hooks import registration
from tests.e2e.site import Site

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "remotes" / "hooks" / "onebackup"
TEMPLATES = ROOT / "share" / "hooks"


@dataclass(frozen=True)
class Execution:
    """One entry of a hook's log."""

    hook: str
    code: int
    out: str
    err: str
    arguments: str


class Hooked:
    """`site`: the corner; `executions`: what the hook manager logged."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.state = site.location / "var" / "onebackup"
        self.client = FrontEnd(site.front_end.endpoint, site.front_end.session, 30, 5)
        self.scripts = site.front_end.state / "remotes" / "hooks" / "onebackup"

    def install(self) -> None:
        """As the installer does: the interpreter line is rewritten. Here it also names this test's ONE_LOCATION."""
        interpreter = self.site.location / "python"
        interpreter.write_text(f'#!/bin/sh\nONE_LOCATION={self.site.location} exec {sys.executable} "$@"\n')
        interpreter.chmod(0o755)
        self.scripts.mkdir(parents=True, exist_ok=True)
        for script in SCRIPTS.iterdir():
            body = script.read_text().split("\n", 1)[1]
            (self.scripts / script.name).write_text(f"#!{interpreter}\n{body}")
            (self.scripts / script.name).chmod(0o755)
        self.changes = registration.register(self.client, TEMPLATES)

    def uninstall(self) -> None:
        registration.unregister(self.client)
        self.until_idle()
        shutil.rmtree(self.scripts)

    # -- what happened

    def executions(self, hook: str) -> list[Execution]:
        """Every execution of one of our hooks, oldest first."""
        hook_id = self.hook_ids().get(f"onebackup_{hook}")
        if hook_id is None:
            return []
        document = etree.fromstring(self.site.call("one.hook.info", hook_id).encode())
        return [
            Execution(
                hook,
                int(record.findtext("EXECUTION_RESULT/CODE", "")),
                _decoded(record, "STDOUT"),
                _decoded(record, "STDERR"),
                record.findtext("ARGUMENTS", ""),
            )
            for record in document.iter("HOOK_EXECUTION_RECORD")
        ]

    def hook_ids(self) -> dict[str, int]:
        pool = etree.fromstring(self.site.call("one.hookpool.info", -2, -1, -1).encode())
        return {item.findtext("NAME", ""): int(item.findtext("ID", "")) for item in pool.findall("HOOK")}

    def said(self, hook: str, text: str) -> Execution:
        """Wait until an execution of the hook says the text; all of its executions were good."""

        def look() -> bool:
            return any(text in item.out + item.err for item in self.executions(hook))

        try:
            wait(f"{hook} to say {text!r}", look, 20)
        except AssertionError as error:
            said = [item.out + item.err for item in self.executions(hook)]
            raise AssertionError(f"{error}; it said {said}") from None
        found = next(item for item in self.executions(hook) if text in item.out + item.err)
        assert (found.code, found.err) == (0, ""), found
        return found

    def until_idle(self) -> None:
        """Wait until no worker runs and nothing waits."""
        wait("the worker to end", self._idle, 60)

    def _idle(self) -> bool:
        if not (self.state / "queue").exists():
            return True
        waiting = [item for item in queue.waiting(self.state / "queue") if item.not_before <= time.time()]
        return not waiting and not queue.claimed(self.state / "queue") and not self._worker_runs()

    def _worker_runs(self) -> bool:
        try:
            with open(self.state / "locks" / "worker.lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    def outcomes(self) -> list[tuple[int, str, str]]:
        """VM, reason and outcome of all requests that ended."""
        self.until_idle()
        return [
            (request.vm_id, request.reason, outcome)
            for request, _, outcome in queue.finished(self.state / "queue")
        ]

    def log(self) -> str:
        path = self.state / "hooks.log"
        return path.read_text() if path.exists() else ""

    def told(self, vm_id: int) -> dict[str, str]:
        section = self.site.info("vm", vm_id).find("USER_TEMPLATE/ONEBACKUP")
        return {} if section is None else {str(item.tag): item.text or "" for item in section}

    def section(self, vm_id: int) -> dict[str, str]:
        section = self.site.info("vm", vm_id).find("USER_TEMPLATE/BACKUP")
        return {} if section is None else {str(item.tag): item.text or "" for item in section}


def wait(what: str, condition: Callable[[], Optional[bool]], timeout_s: float = 30.0) -> None:
    """Poll until the condition holds; not so often that polling is what keeps the machine busy."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.1)


def _decoded(record: etree._Element, name: str) -> str:
    return base64.b64decode(record.findtext(f"EXECUTION_RESULT/{name}", "")).decode()
