# SPDX-License-Identifier: Apache-2.0
"""The control calls (POST /control): no part of OpenNebula, only for tests and demonstrations."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sandbox.core.faults import CALL_COMMANDS
from sandbox.core.front import Front


def run(front: Front, request: dict[str, Any]) -> Any:
    """Executes one control command; raises ValueError for one that is unknown or incomplete."""
    command = request.pop("command", None)
    faults = front.faults
    if command in CALL_COMMANDS:
        if not request.get("method"):
            raise ValueError(f"{command} needs a method")
        faults.add(command, request)
        return {"ok": True}
    handlers = {"next": _next, "slow": _slow, "clear": _clear, "log": _log, "count": _count, "vm_disk": _vm_disk,
                "raft": _raft, "restrict": _restrict, "guest_ends": _guest_ends}
    if command not in handlers:
        raise ValueError(f"unknown command {command!r}")
    return handlers[command](front, request)


def _next(front: Front, request: dict[str, Any]) -> Any:
    wish = {"what": str(request["what"]), "vm": request.get("vm"), "times": int(request.get("times") or 1)}
    front.faults.next_results.append(wish)
    return {"ok": True}


def _slow(front: Front, request: dict[str, Any]) -> Any:
    front.faults.slow[str(request["what"])] = float(request["seconds"])
    return {"ok": True}


def _clear(front: Front, request: dict[str, Any]) -> Any:
    front.faults.clear()
    return {"ok": True}


def _log(front: Front, request: dict[str, Any]) -> Any:
    return [asdict(call) for call in front.faults.calls]


def _count(front: Front, request: dict[str, Any]) -> Any:
    return sum(call.method == request["method"] for call in front.faults.calls)


def _vm_disk(front: Front, request: dict[str, Any]) -> Any:
    return str(front.settings.state / "datastores" / "0" / str(request["vm"]) / f"disk.{request['disk']}")


def _guest_ends(front: Front, request: dict[str, Any]) -> Any:
    """The guest of a RUNNING `vm` shuts itself down, and the next monitoring says so; whether it did."""
    from sandbox.machines import vm_run, vm_states, vm_storage

    with front.transaction():
        vm = front.get("vm", int(request["vm"]))
        if not vm_states.is_running(vm):
            return {"ended": False}
        vm_storage.stop_guest(front, vm.id)
        vm_run.guest_ended(front, vm)
    return {"ended": True}


def _restrict(front: Front, request: dict[str, Any]) -> Any:
    """IMAGE_RESTRICTED_ATTR of oned.conf has this `attribute` too, until `clear`."""
    front.faults.restricted.append(str(request["attribute"]))
    return {"ok": True}


def _raft(front: Front, request: dict[str, Any]) -> Any:
    """This server becomes a member of a cluster: `server_id` and `state` (2 follower, 3 leader), until `clear`."""
    front.faults.raft.update(SERVER_ID=request["server_id"], STATE=request["state"])
    return {"ok": True}
