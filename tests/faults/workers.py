# SPDX-License-Identifier: Apache-2.0
"""The processes that the cases are spread over: each has a front-end of its own per version."""

from __future__ import annotations

import multiprocessing.util
import os
import signal

from tests.faults import cases, matrix, orphans
from tests.faults.cases import Case, Outcome
from tests.faults.rig import Rig

_NO_HOME = "/nonexistent"
_rigs: dict[str, Rig] = {}


def begin() -> None:
    """End with the process that started this one, and keep off its settings."""
    orphans.end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's ^C is the parent's
    for name in list(os.environ):
        if name.startswith(("ONE_", "ONEAPP_", "ONEBACKUP_", "AWS_", "http_proxy", "https_proxy")):
            del os.environ[name]
    os.environ.update(HOME=_NO_HOME, ONE_AUTH=f"{_NO_HOME}/none", ONE_XMLRPC="http://127.0.0.1:9/RPC2")


def _rig(version: str) -> Rig:
    if version not in _rigs:
        rig = _rigs[version] = Rig(version)
        multiprocessing.util.Finalize(rig, rig.close, exitpriority=10)
    return _rigs[version]


def steps_times_faults(version: str, scenario: str) -> list[Case]:
    return list(matrix.cases(_rig(version), [scenario]))


def run(case: Case) -> Outcome:
    return cases.run(_rig(case.version), case)
