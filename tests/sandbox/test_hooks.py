# SPDX-License-Identifier: Apache-2.0
"""Hooks: which templates are taken, when they fire, what the log keeps."""
from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.process import FrontEnd
from tests.sandbox import driving


def script(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def hook(front_end: FrontEnd, text: str) -> int:
    return int(front_end.call("one.hook.allocate", f'NAME="{driving.name("hook")}"\n{text}'))


def executions(front_end: FrontEnd, number: int) -> list[str]:
    found = driving.xml(front_end, "hook", number)
    return [str(record.findtext("EXECUTION_RESULT/CODE")) for record in found.iter("HOOK_EXECUTION_RECORD")]


def test_api_hooks_fire_after_success_and_failure(front_end: FrontEnd, tmp_path: Path) -> None:
    command = script(tmp_path / "hook", f"cat >> {tmp_path}/seen; echo >> {tmp_path}/seen")
    number = hook(front_end, f'TYPE="api"\nCALL="one.template.update"\nCOMMAND="{command}"\nARGUMENTS="$API word"\n'
                             'ARGUMENTS_STDIN="yes"')
    template = front_end.call("one.template.allocate", f'NAME="{driving.name("t")}"')
    front_end.call("one.template.update", template, "A=1", 1)
    driving.until(lambda: executions(front_end, number) == ["0"])  # two at once would write into each other's lines
    with driving.refused(1024, "Error getting"):
        front_end.call("one.template.update", 99999, "A=1", 1)
    with driving.refused(256, "authenticated"):
        front_end.call("one.template.update", template, "A=1", 1, session="x:y")
    driving.until(lambda: executions(front_end, number) == ["0", "0"])
    lines = (tmp_path / "seen").read_text().splitlines()
    assert len(lines) == 2 and all(line.endswith(" word") for line in lines)


def test_state_hooks_fire_on_their_state(front_end: FrontEnd, tmp_path: Path) -> None:
    command = script(tmp_path / "hook", f'echo "$#" "$2" >> {tmp_path}/seen')
    number = hook(front_end, f'TYPE="state"\nRESOURCE="VM"\nON="CUSTOM"\nSTATE="POWEROFF"\nLCM_STATE="LCM_INIT"\n'
                             f'COMMAND="{command}"\nARGUMENTS="$TEMPLATE extra"')
    ready = hook(front_end, f'TYPE="state"\nRESOURCE="IMAGE"\nSTATE="READY"\nCOMMAND="{command}"\n'
                            'ARGUMENTS="$TEMPLATE image"')
    vm = driving.vm(front_end, driving.image(front_end))
    driving.act(front_end, "poweroff", vm, driving.POWEROFF)
    driving.until(lambda: executions(front_end, number) == ["0"] and executions(front_end, ready) == ["0"])
    assert sorted((tmp_path / "seen").read_text().splitlines()) == ["2 extra", "2 image"]
    for each in (number, ready):
        front_end.call("one.hook.delete", each)


def test_the_log_keeps_failures_and_a_retry(front_end: FrontEnd, tmp_path: Path) -> None:
    command = script(tmp_path / "hook", "echo out; echo bad >&2; exit 3")
    number = hook(front_end, f'TYPE="api"\nCALL="one.document.allocate"\nCOMMAND="{command}"')
    front_end.call("one.document.allocate", f'NAME="{driving.name("d")}"', 100)
    driving.until(lambda: executions(front_end, number) == ["3"])
    front_end.call("one.hook.retry", number, 0)
    driving.until(lambda: executions(front_end, number) == ["3", "3"])
    log = front_end.call("one.hooklog.info", 0, 0, number, -1)
    assert log.count("<CODE>3</CODE>") == 2 and "YmFkCg==" in log
    assert front_end.call("one.hooklog.info", 0, 0, number, 1) == "<HOOKLOG></HOOKLOG>"


@pytest.mark.parametrize(("text", "message"), [
    ('TYPE="api"\nCALL="one.vm.info"\nCOMMAND="x"', "API call does not exist or is not supported: one.vm.info"),
    ('TYPE="odd"\nCOMMAND="x"', "Invalid Hook type: odd"),
    ('TYPE="state"\nRESOURCE="VM"\nON="SOMETIMES"\nCOMMAND="x"', "Unkown state condition: SOMETIMES"),
    ('TYPE="state"\nRESOURCE="VM"\nON="CUSTOM"\nSTATE="ODD"\nCOMMAND="x"', "Wrong STATE: ODD"),
    ('TYPE="api"\nCALL="one.vm.update"', "COMMAND"),
])
def test_what_is_no_hook(front_end: FrontEnd, text: str, message: str) -> None:
    with driving.refused(16384, message):
        hook(front_end, text)
    _, session = driving.user(front_end)
    with driving.refused(512, "Not authorized to perform CREATE HOOK."):
        front_end.call("one.hook.allocate", f'NAME="x"\n{text}', session=session)
