# SPDX-License-Identifier: Apache-2.0
"""Runs onebackup in a process of its own for a fraction of the start-up cost: a server that has everything imported
forks for each run. What is forked is a real process: it can be killed, has its own signals, limits and locks.

    python -m tests.faults.fork_server      one JSON request a line on stdin; per run two lines on stdout
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from tests.faults import clock_step, file_steps, orphans

#: How soon a run looks again: the front-end of the matrix is a hundred times as fast as a real one.
_FIRST_PAUSE_S = 0.02
PROJECT = Path(__file__).resolve().parents[2]


@dataclass
class Ended:
    """How a run ended: `code` is negative for a signal. `file_steps`: its file operations, in order."""

    code: int
    out: str
    err: str
    file_steps: list[str] = field(default_factory=list)


class ForkServer:
    """One run at a time."""

    def __init__(self, environment: dict[str, str]) -> None:
        """`environment`: what is added to the own one, for the server and the runs."""
        self._environment = environment
        own = {**os.environ, "PYTHONPATH": str(PROJECT), **environment}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fork_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=own, cwd=PROJECT,
        )  # fmt: skip
        self.pid: Optional[int] = None
        self._started = threading.Event()

    def run(self, arguments: list[str], environment: dict[str, str], state: Path, strike: dict[str, Any],
            timeout_s: float) -> Ended:
        """Run `onebackup arguments`, or a hook: `hook NAME ARGUMENTS`. `state`: the directory whose file operations
        count as steps; `strike`: see file_steps. Raises TimeoutError when it does not end (it is killed then)."""
        request = {"arguments": arguments, "environment": {**environment, **self._environment}, "state": str(state),
                   "strike": strike}  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        self.pid = int(self._process.stdout.readline())
        self._started.set()
        late = threading.Event()
        alarm = threading.Timer(timeout_s, self._end_late, (self.pid, late))
        alarm.start()
        try:
            ended = Ended(**json.loads(self._process.stdout.readline()))
        finally:
            alarm.cancel()
            self._started.clear()
        if late.is_set():
            raise TimeoutError(f"onebackup {' '.join(arguments)} did not end within {timeout_s:g} s: {ended}")
        return ended

    @staticmethod
    def _end_late(pid: int, late: threading.Event) -> None:
        late.set()
        os.kill(pid, signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to the run that is under way."""
        self._started.wait(10)
        assert self.pid is not None
        os.kill(self.pid, number)

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


# -- in the server


def serve() -> None:
    orphans.end_with_parent()
    _import_everything()
    for line in sys.stdin:
        request = json.loads(line)
        out, err, steps = os.pipe(), os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            for reading, _ in (out, err, steps):
                os.close(reading)
            _become(request, out[1], err[1], steps[1])
        for _, writing in (out, err, steps):
            os.close(writing)
        print(pid, flush=True)
        texts = _read_all([out[0], err[0], steps[0]])
        _, status = os.waitpid(pid, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1],
                  "file_steps": texts[2].split("\n")[:-1]}  # fmt: skip
        print(json.dumps(answer), flush=True)


def _import_everything() -> None:
    import onebackup_driver

    for module in pkgutil.walk_packages(onebackup_driver.__path__, "onebackup_driver."):
        importlib.import_module(module.name)
    import pyone  # noqa: F401  (it is half of the start-up cost)

    gc.collect()
    gc.freeze()


def _become(request: dict[str, Any], out: int, err: int, steps: int) -> None:
    """The forked process turns into `onebackup`; never returns."""
    orphans.end_with_parent()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(request["environment"])
    code = 1
    try:
        from onebackup_driver import waiting

        waiting._FIRST_PAUSE_S = _FIRST_PAUSE_S
        clock_step.see_it_without_a_compiler()
        file_steps.watch(Path(request["state"]), steps, request["strike"])
        _main(request["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _main(arguments: list[str]) -> None:
    if arguments[0] == "hook":
        from onebackup_driver.hooks import main as hooks

        sys.argv = arguments[1:]
        hooks.run(arguments[1])
    from onebackup_driver.cli import main

    main.main(arguments)


def _read_all(descriptors: list[int]) -> list[str]:
    texts = [""] * len(descriptors)

    def read(number: int) -> None:
        with os.fdopen(descriptors[number], encoding="utf-8", errors="replace") as stream:
            texts[number] = stream.read()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(descriptors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return texts


if __name__ == "__main__":
    serve()
