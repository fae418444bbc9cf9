# SPDX-License-Identifier: Apache-2.0
"""Hooks: their objects and calls, and which events they fire on."""

from __future__ import annotations

from typing import Any, Optional

from sandbox.core import errors, methods, names, rights
from sandbox.core.caller import Caller
from sandbox.core.front import Event, Front
from sandbox.core.methods import Result, method
from sandbox.core.record import Record
from sandbox.core.template import Template
from sandbox.machines import hook_runs, vm_states
from sandbox.objects import generic, images, render

SHORTCUTS = {"PROLOG": ("ACTIVE", "PROLOG"), "RUNNING": ("ACTIVE", "RUNNING"), "SHUTDOWN": ("ACTIVE", "EPILOG"),
             "STOP": ("STOPPED", "LCM_INIT"), "DONE": ("DONE", "LCM_INIT"), "UNKNOWN": ("ACTIVE", "UNKNOWN")}


def _problem(front: Front, template: Template) -> Optional[str]:
    """oned's complaint about a hook template; fills in STATE and LCM_STATE for the shortcuts of ON."""
    kind = template.get("TYPE").lower()
    if not template.get("COMMAND"):
        return "Missing or invalid COMMAND attribute"
    if kind == "api":
        call = template.get("CALL")
        supported = methods.known(front.settings.version, call) and not call.endswith((".info", ".infoextended"))
        return None if supported else f"API call does not exist or is not supported: {call}"
    if kind == "state":
        return _state_problem(template)
    return f"Invalid Hook type: {template.get('TYPE')}"


def _state_problem(template: Template) -> Optional[str]:
    resource = template.get("RESOURCE").upper()
    if resource == "IMAGE":
        return None if template.get("STATE") in images.STATE_NAMES else f"Wrong STATE: {template.get('STATE')}"
    if resource != "VM":
        return None if resource in ("HOST", "NET", "VNET") else f"Invalid resource type: {resource}"
    condition = template.take("ON").upper()
    if condition in SHORTCUTS:
        state, lcm_state = SHORTCUTS[condition]
        template.set("STATE", state)
        template.set("LCM_STATE", lcm_state)
        return None
    if condition != "CUSTOM":
        return f"Unkown state condition: {condition}"
    if template.get("STATE") not in vm_states.STATES:
        return f"Wrong STATE: {template.get('STATE')}"
    if template.get("LCM_STATE") not in vm_states.LCM:
        return f"Wrong LCM_STATE: {template.get('LCM_STATE')}"
    return None


@method("one.hook.allocate", "s")
def allocate(front: Front, caller: Caller, text: str) -> int:
    template = generic.parsed(text)
    rights.require_create(caller, "hook")
    name = template.take("NAME")
    problem = "Invalid name." if names.problem(name) else None
    other = front.by_name("hook", name)
    if other is not None:
        problem = f"NAME is already taken by Hook {other.id}."
    problem = problem or _problem(front, template)
    if problem:
        raise names.allocation_error("hook", problem, front.settings.modern)
    if template.get("REMOTE").upper() != "YES":
        template.set("REMOTE", "NO")
    record = Record("hook", front.next_id("hook"), name, template=template)
    record["type"] = template.take("TYPE").lower()
    return front.add(record).id


@method("one.hook.delete", "i")
def delete(front: Front, caller: Caller, hook_id: int) -> int:
    record = front.get("hook", hook_id)
    rights.require(caller, rights.ADMIN, record)
    front.store.remove_hook_log(hook_id)
    front.drop(record)
    return hook_id


@method("one.hook.rename", "is")
def rename(front: Front, caller: Caller, hook_id: int, name: str) -> int:
    record = front.get("hook", hook_id)
    rights.require(caller, rights.MANAGE, record)
    problem = names.problem(name)
    if problem:
        raise errors.action(problem)
    record.name = name
    front.save(record)
    return hook_id


@method("one.hook.retry", "ii")
def retry(front: Front, caller: Caller, hook_id: int, execution: int) -> int:
    record = front.get("hook", hook_id)
    rights.require(caller, rights.MANAGE, record)
    rows = front.store.hook_log("hook=? AND execution=?", (hook_id, execution))
    if not rows:
        raise errors.action(f"Hook {hook_id} has no execution {execution}")
    hook_runs.again(front, record, rows[0][4])
    return hook_id


@method("one.hookpool.info", "|iii")
def pool(front: Front, caller: Caller, *ignored: int) -> str:
    shown = [hook for hook in front.all("hook") if rights.allowed(caller, rights.USE, hook)]
    return generic.pool_xml(front, "hook", generic.page(shown))


@method("one.hooklog.info", "iiii")
def log(front: Front, caller: Caller, start: int, end: int, hook_id: int, code: int) -> str:
    """Records between two times (0 or -1: no bound), of one hook or all, with rc 1 success, -1 error, 0 any."""
    rows = front.store.hook_log("hook=? OR ?=-1", (hook_id, hook_id))
    chosen = []
    for _, _, return_code, time_s, body in rows:
        if (start > 0 and time_s < start) or (end > 0 and time_s > end):
            continue
        if (code == 1 and return_code != 0) or (code == -1 and return_code == 0):
            continue
        chosen.append(body)
    return f"<HOOKLOG>{''.join(chosen)}</HOOKLOG>"


def on_change(front: Front, record: Record) -> Optional[Event]:
    """A record was written: state hooks of VMs and images whose state changed; returns what fires them."""
    if record.kind == "vm":
        states = (record["state"], record["lcm_state"])
        if states == (record["prev_state"], record["prev_lcm_state"]):
            return None
        wanted = {"STATE": vm_states.STATES[states[0]], "LCM_STATE": vm_states.LCM_STATES[states[1]]}
        event = _fire(front, record, "VM", wanted)
        record["prev_state"], record["prev_lcm_state"] = states
        return event
    if record.kind == "image" and record["state"] != record["prev_state"]:
        if record["prev_state"] == images.INIT and record["state"] == images.LOCKED:
            return None
        event = _fire(front, record, "IMAGE", {"STATE": images.STATE_NAMES[record["state"]]})
        record["prev_state"] = record["state"]
        return event
    return None


def _fire(front: Front, record: Record, resource: str, states: dict[str, str]) -> Optional[Event]:
    found = [hook for hook in front.all("hook") if hook["type"] == "state"
             and hook.template.get("RESOURCE").upper() == resource
             and all(hook.template.get(name) == value for name, value in states.items())]
    if not found:
        return None
    text = render.in_call(front, record)

    def start() -> None:
        for hook in found:
            hook_runs.start(front, hook, template=text)

    return start


def after_call(front: Front, name: str, arguments: list[Any], result: Result) -> None:
    """API hooks fire after success and failure alike, never after a failed authentication."""
    if result[2] == errors.AUTHENTICATION or name.endswith((".info", ".infoextended", ".infoset")):
        return
    with front.lock:
        found = [hook for hook in front.all("hook") if hook["type"] == "api" and hook.template.get("CALL") == name]
    for hook in found:
        extra = _object_xml(front, name, arguments, result)
        hook_runs.start(front, hook, api=hook_runs.call_info(arguments, result, front.settings.modern, extra))


def _object_xml(front: Front, name: str, arguments: list[Any], result: Result) -> str:
    """EXTRA of successful allocate and delete calls: the object."""
    _, kind, verb = name.split(".")
    if not result[0] or verb not in ("allocate", "delete"):
        return ""
    number = int(result[1] if verb == "allocate" else arguments[0])
    with front.lock:
        record = front.find(kind, number) or front.dropped.get((kind, number))
        return render.in_call(front, record) if record else ""
