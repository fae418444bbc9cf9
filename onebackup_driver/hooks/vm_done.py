# SPDX-License-Identifier: Apache-2.0
"""A VM is DONE: its restore points are handled by the site's rule (terminated_vms). By default nothing is deleted.

With `delete` they go soon; with `keep N days` the timer deletes them when the time has come (terminated.sweep).
"""

from __future__ import annotations

from onebackup_driver.hooks import payload
from onebackup_driver.hooks.payload import Payload


def handle(hint: Payload) -> str:
    """Queue the deletion when the site wants it now; what was done, in words."""
    vm_id = payload.vm_id(hint)
    if vm_id is None:
        return "the VM's id is unknown, left to the timer"
    from onebackup_driver import configuration, paths

    rule = configuration.load(paths.find().configuration).terminated_vms
    return _look_at(vm_id) if rule == "delete" else f"VM {vm_id} is DONE; its restore points: {rule}"


def _look_at(vm_id: int) -> str:
    from onebackup_driver import cloud, queue, states
    from onebackup_driver.hooks import asking

    context = asking.context()
    machine = cloud.machine(context, vm_id)
    if machine.state.state != states.DONE:
        return f"VM {vm_id} is {machine.state}, not DONE"
    line = asking.queued(context, machine, queue.TERMINATED, "the VM was terminated")
    asking.see_to_worker(context)
    return line
