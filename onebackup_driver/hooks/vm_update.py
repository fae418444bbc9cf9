# SPDX-License-Identifier: Apache-2.0
"""After one.vm.update: a changed BACKUP section is judged and its ACTION taken.

The verdict is written only when it changed (verdict.py), and a text that speaks only of ONEBACKUP is not looked at: so
neither our own records nor the verdict itself start it again for more than one look.
"""

from __future__ import annotations

import re

from onebackup_driver.hooks import payload
from onebackup_driver.hooks.payload import CallInfo, Payload

#: The attribute in a template's text or XML; oned takes names in any case.
_BACKUP = re.compile(r"(?<![A-Za-z0-9_])BACKUP\s*=|(?:<|&lt;)BACKUP\b", re.IGNORECASE)
_APPEND = "1"


def handle(hint: Payload) -> str:
    """Judge the VM's BACKUP section, take ACTION="NOW"; what was done, in words."""
    call = payload.call_info(hint)
    if call.success is False:
        return "the call failed, nothing changed"
    if not _may_concern_us(call, hint):
        return "not about BACKUP"
    if call.object_id is None:
        return "the VM's id is unknown, left to the timer"
    return _look_at(call.object_id)


def _look_at(vm_id: int) -> str:
    from onebackup_driver import judging, queue
    from onebackup_driver.hooks import asking

    context = asking.context()
    line = judging.look_at(context, vm_id)
    if queue.waiting(context.where.queue):
        asking.see_to_worker(context)
    return line


def _may_concern_us(call: CallInfo, hint: Payload) -> bool:
    replaced = call.arguments.get(4, "").strip() != _APPEND
    return replaced or _BACKUP.search(hint.text) is not None
