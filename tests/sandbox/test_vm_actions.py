# SPDX-License-Identifier: Apache-2.0
"""Every action from every resting state: what happens, or the refusal with the state's name."""
from __future__ import annotations

import pytest

from sandbox.process import FrontEnd
from tests.sandbox import driving
from tests.sandbox.driving import DONE, HOLD, PENDING, POWEROFF, RUNNING, STOPPED, SUSPENDED, UNDEPLOYED

WAY: dict[driving.State, list[str]] = {
    RUNNING: [], POWEROFF: ["poweroff"], SUSPENDED: ["suspend"], STOPPED: ["stop"], UNDEPLOYED: ["undeploy"],
    DONE: ["terminate-hard"],
}
NAMES: dict[driving.State, str] = {RUNNING: "RUNNING", POWEROFF: "POWEROFF", SUSPENDED: "SUSPENDED", STOPPED: "STOPPED",
         UNDEPLOYED: "UNDEPLOYED", DONE: "DONE", HOLD: "HOLD", PENDING: "PENDING"}
POSSIBLE: dict[str, dict[driving.State, driving.State]] = {
    "poweroff": {RUNNING: POWEROFF}, "poweroff-hard": {RUNNING: POWEROFF}, "suspend": {RUNNING: SUSPENDED},
    "resume": {POWEROFF: RUNNING, SUSPENDED: RUNNING, STOPPED: RUNNING, UNDEPLOYED: RUNNING},
    "stop": {RUNNING: STOPPED, SUSPENDED: STOPPED}, "undeploy": {RUNNING: UNDEPLOYED, POWEROFF: UNDEPLOYED},
    "undeploy-hard": {RUNNING: UNDEPLOYED, POWEROFF: UNDEPLOYED}, "reboot": {RUNNING: RUNNING}, "hold": {},
    "release": {}, "terminate": dict.fromkeys(WAY, DONE), "terminate-hard": dict.fromkeys(WAY, DONE),
}
CASES = [(action, state) for action in POSSIBLE for state in WAY]


@pytest.mark.parametrize("start", WAY, ids=lambda state: NAMES[state])
def test_refusals_name_the_state(front_end: FrontEnd, start: driving.State) -> None:
    number = driving.vm(front_end, driving.image(front_end))
    for action in WAY[start]:
        driving.act(front_end, action, number, start)
    for action, ways in POSSIBLE.items():
        if start not in ways:
            text = f'[one.vm.action] Error performing action "{action}": This action is not available for state '
            got = driving.refusal(lambda action=action: front_end.call("one.vm.action", action, number))  # type: ignore[misc]
            assert got == (2048, text + NAMES[start])
    assert driving.state(front_end, "vm", number) == start


@pytest.mark.parametrize(("action", "start"), [case for case in CASES if case[1] in POSSIBLE[case[0]]],
                         ids=lambda value: value if isinstance(value, str) else NAMES[value])
def test_possible_actions_lead_on(front_end: FrontEnd, action: str, start: driving.State) -> None:
    number = driving.vm(front_end, driving.image(front_end))
    for step in WAY[start]:
        driving.act(front_end, step, number, start)
    driving.act(front_end, action, number, POSSIBLE[action][start])


def test_hold_and_release(front_end: FrontEnd) -> None:
    number = driving.vm(front_end, more="", wanted=RUNNING)
    text = 'NAME="held"\nCPU="0.1"\nMEMORY="64"'
    held = front_end.call("one.vm.allocate", text, True)
    assert driving.state(front_end, "vm", held) == HOLD
    with driving.refused(2048, "This action is not available for state HOLD"):
        front_end.call("one.vm.action", "resume", held)
    driving.act(front_end, "release", held, RUNNING)
    assert driving.state(front_end, "vm", number) == RUNNING


def test_unknown_action(front_end: FrontEnd) -> None:
    with driving.refused(2048, 'Action "dance" is not supported'):
        front_end.call("one.vm.action", "dance", driving.vm(front_end))


def test_nothing_is_possible_while_a_disk_is_saved(front_end: FrontEnd) -> None:
    number = driving.vm(front_end, driving.image(front_end))
    driving.act(front_end, "poweroff", number, POWEROFF)
    front_end.control("slow", what="saveas", seconds=0.5)
    saved = front_end.call("one.vm.disksaveas", number, 0, driving.name("saved"), "", -1)
    for action in ("resume", "poweroff", "suspend"):
        with driving.refused(2048, "not available for state HOTPLUG_SAVEAS_POWEROFF"):
            front_end.call("one.vm.action", action, number)
    with driving.refused(2048, "wrong state HOTPLUG_SAVEAS_POWEROFF"):
        front_end.call("one.vm.action", "terminate-hard", number)
    driving.wait(front_end, "image", saved, driving.READY)
    driving.act(front_end, "resume", number, RUNNING)


def test_without_an_enabled_host_a_vm_stays_pending(fresh_front_end: FrontEnd) -> None:
    fresh_front_end.call("one.host.status", 0, 1)
    number = fresh_front_end.call("one.vm.allocate", 'CPU="0.1"\nMEMORY="64"')
    driving.until(lambda: "No hosts enabled" in fresh_front_end.call("one.vm.info", number))
    assert driving.state(fresh_front_end, "vm", number) == PENDING
    fresh_front_end.call("one.host.status", 0, 0)
    driving.wait(fresh_front_end, "vm", number, RUNNING)
