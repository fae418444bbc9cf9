# SPDX-License-Identifier: Apache-2.0
"""The groups of cases: each module says which cases there are and runs one."""

from __future__ import annotations

import time
import traceback
from typing import Any

from . import crowd, damage, disk, killed, meanwhile, requests
from .cases import Case, Outcome
from .rig import Rig

GROUPS: dict[str, Any] = {module.GROUP: module for module in (killed, requests, disk, damage, meanwhile, crowd)}


def run(case: Case, rig: Rig) -> Outcome:
    """Run one case; what it raises is a failure of it."""
    began = time.monotonic()
    try:
        outcome: Outcome = GROUPS[case.group].run(case, rig)
    except Exception:  # a case must not end all others
        outcome = Outcome(case, wrong=[traceback.format_exc()])
    outcome.seconds = time.monotonic() - began
    return outcome
