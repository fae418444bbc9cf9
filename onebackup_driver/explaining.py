# SPDX-License-Identifier: Apache-2.0
"""The plan in words, and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebackup_driver import schedule, units
from onebackup_driver.schedule import Decision


def verdict(decision: Decision, waits_for: str = "") -> str:
    """e.g. `not due until 2026-11-23 02:38:38: its last backup is …`. `waits_for`: why there is no slot for it."""
    when = units.local_time(decision.at) if decision.at else ""
    if decision.verdict == schedule.DUE:
        waiting = f", waiting for a slot: {waits_for}" if waits_for else ""
        return f"due since {when}: {decision.reason}{waiting}"
    if decision.verdict == schedule.NOT_DUE:
        return f"not due until {when}: {decision.reason}"
    if decision.verdict in (schedule.CLOSED, schedule.FAILED_BEFORE):
        return f"{decision.verdict}, not before {when}: {decision.reason}"
    if decision.verdict == schedule.EXCLUDED:
        return f"excluded because {decision.reason}"
    return f"{decision.verdict}: {decision.reason}"


def line(decision: Decision, waits_for: str = "") -> str:
    """`VM 42 (web): due since …`."""
    return f"VM {decision.machine.vm_id} ({decision.machine.name}): {verdict(decision, waits_for)}"


def lines(decisions: list[Decision], waits_for: Mapping[int, str]) -> list[str]:
    """A line for each VM, in the order of the plan."""
    return [line(decision, waits_for.get(decision.machine.vm_id, "")) for decision in decisions]


def as_data(decision: Decision, waits_for: str = "") -> dict[str, Any]:
    """A decision for --json."""
    machine = decision.machine
    return {
        "vm_id": machine.vm_id,
        "vm_name": machine.name,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "at": decision.at,
        "local_time": units.local_time(decision.at) if decision.at else "",
        "overdue_periods": round(decision.overdue, 3),
        "marketplace_id": decision.marketplace_id,
        "host_id": machine.host_id,
        "size_mb": machine.size_mb,
        "waits_for": waits_for,
    }
