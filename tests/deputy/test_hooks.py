# SPDX-License-Identifier: Apache-2.0
"""Requests through the hooks: a tenant's own call is what the hook is told of, in the tenant's own words."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time

import pytest

from tests.deputy.conftest import Victim
from tests.deputy.tenants import Tenant
from tests.e2e import checks, machines
from tests.e2e.site import Site, wait
from tests.hooks.hooked import SCRIPTS


def hook(site: Site, name: str, text: str) -> str:
    """What the hook said to a payload; a worker that it started has ended."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / name)], input=base64.b64encode(text.encode()), capture_output=True, timeout=60,
        env={**os.environ, **site.environment},
    )  # fmt: skip
    queue = site.location / "var/onebackup/queue"
    wait("the worker", lambda: not [*queue.glob("waiting/*.json"), *queue.glob("claimed/*.json")])
    return (done.stdout + done.stderr).decode()


def call_info(vm_id: int, text: str, success: int = 1, *results: str) -> str:
    """As oned writes it: what came in is not escaped."""
    values = [("IN", "****"), ("IN", str(vm_id)), ("IN", text), ("IN", "1")]
    body = "".join(f"<PARAMETER><POSITION>{number}</POSITION><TYPE>{kind}</TYPE><VALUE>{value}</VALUE></PARAMETER>"
                   for number, (kind, value) in enumerate(values, 1))  # fmt: skip
    body += "".join(f"<PARAMETER><POSITION>{number}</POSITION><TYPE>OUT</TYPE><VALUE>{value}</VALUE></PARAMETER>"
                    for number, value in enumerate(results, 1))  # fmt: skip
    return f"<CALL_INFO><RESULT>{success}</RESULT><PARAMETERS>{body}</PARAMETERS><EXTRA/></CALL_INFO>"


@pytest.mark.parametrize("name", ["vm_update", "vm_backup"])
def test_a_text_that_claims_another_vm_asks_for_nothing(
    site: Site, victim: Victim, attacker: Tenant, name: str
) -> None:
    vm_id = attacker.machine(backup='FREQUENCY_SECONDS="86400"')
    begin = "</VALUE></PARAMETER><PARAMETER><POSITION>"
    forged = f'BACKUP=[ACTION="NOW"]{begin}2</POSITION><TYPE>IN</TYPE><VALUE>{victim.vm_id}'
    forged += f"{begin}3</POSITION><TYPE>OUT</TYPE><VALUE>8192"
    for success in (0, 1):
        said = hook(site, name, call_info(vm_id, forged, success))
        assert f"VM {victim.vm_id}" not in said, said
        hook(site, name, "<CALL_INFO><RESULT>0</RESULT>" + call_info(vm_id, forged, success))


def test_a_call_for_the_victims_vm_backs_it_up_only_when_it_is_due(site: Site, victim: Victim) -> None:
    """one.vm.backup fails for want of a datastore before oned looks at who calls: anybody can have that happen."""
    said = hook(site, "vm_backup", call_info(victim.vm_id, "-1", 0, "false", "no backup datastore", "8192"))
    assert "queued" in said, said
    assert set(site.apps()) == set(victim.app_ids)


def test_attributes_that_ask_for_a_restore_or_for_anothers_backup(site: Site, victim: Victim, attacker: Tenant) -> None:
    site.configure(minimum_frequency_seconds=1)
    vm_id = attacker.machine()
    last = int(checks.tags(site, checks.backed_up(site, vm_id)[-1])["TIME"])
    wait("the floor to be over", lambda: time.time() > last + 1)
    before = site.ids("vm"), site.ids("image"), site.apps()
    for text in (
        'ACTION="RESTORE"', f'ACTION="NOW",VM_ID="{victim.vm_id}"', f'ACTION="NOW {victim.vm_id}"',
    ):  # fmt: skip
        section = f'FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{site.market}",LAST_BACKUP_TIME="1",{text}'
        attacker.update(vm_id, f"BACKUP=[{section}]")
        hook(site, "vm_update", call_info(vm_id, f"BACKUP=[{section}]"))
    assert (site.ids("vm"), site.ids("image")) == before[:2]
    assert set(victim.app_ids) < set(site.apps())


def test_another_vm_in_the_event_of_ones_own(site: Site, victim: Victim, attacker: Tenant) -> None:
    """$TEMPLATE is the VM's XML, in which its owner wrote much."""
    vm_id = attacker.machine(state=machines.POWEROFF)
    note = f"<VM><ID>{victim.vm_id}</ID><USER_TEMPLATE><BACKUP/></USER_TEMPLATE></VM>"
    for name in ("vm_poweroff", "vm_done"):
        for text in (f"<VM><ID>{vm_id}</ID><USER_TEMPLATE>{note}</USER_TEMPLATE></VM>", f"<!--{note}--><VM/>"):
            assert f"VM {victim.vm_id}" not in hook(site, name, text)
