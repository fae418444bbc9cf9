# SPDX-License-Identifier: Apache-2.0
"""After one.vm.backup (6.6 and later): a call that failed for want of a backup datastore becomes a request to us.

The event does not say who called, and oned looks at the datastore before it looks at the caller's rights
(src/rm/api/VirtualMachineAPI.cc): anybody can have such a call fail for any VM. So it is carried out only when the VM
is due anyway, unless the site says otherwise (native_backup_calls).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from onebackup_driver import xml_values
from onebackup_driver.hooks import payload
from onebackup_driver.hooks.payload import Payload

if TYPE_CHECKING:
    from onebackup_driver.context import Context
    from onebackup_driver.vm import VirtualMachine

#: include/Request.h: who called is not known, or may not.
_NOT_ALLOWED = (256, 512)
_BACKUP_DATASTORE = "3"


def handle(hint: Payload) -> str:
    """Queue the VM when the call was meant for us; what was done, in words."""
    call = payload.call_info(hint)
    if call.success is not False:
        return "OpenNebula's own backup does it"
    if call.error_code is None or call.error_code in _NOT_ALLOWED:
        return "the caller was not allowed to"
    if call.object_id is None:
        return "the VM's id is unknown"
    return _look_at(call.object_id, xml_values.whole_number(call.arguments.get(3, "")))


def _look_at(vm_id: int, datastore_id: Optional[int]) -> str:
    from onebackup_driver import cloud, queue
    from onebackup_driver.hooks import asking

    context = asking.context()
    if context.configuration.native_backup_calls == "never":
        return "native_backup_calls is never"
    machine = cloud.machine(context, vm_id)
    if machine.backup is None:
        return f"VM {vm_id} has no BACKUP section"
    if _has_backup_datastore(context, machine, datastore_id):
        return f"VM {vm_id} has a backup datastore of OpenNebula's own"
    line = asking.queued(context, machine, queue.NATIVE, "one.vm.backup")
    asking.see_to_worker(context)
    return line


def _has_backup_datastore(context: Context, machine: VirtualMachine, datastore_id: Optional[int]) -> bool:
    """Whether the call named one, or the VM was backed up into one before (-1: take that)."""
    from onebackup_driver import errors

    if datastore_id is None or datastore_id < 0:
        return xml_values.number(machine.element, "BACKUPS/BACKUP_CONFIG/LAST_DATASTORE_ID") >= 0
    try:
        datastore = context.front_end.element("one.datastore.info", datastore_id)
    except errors.NoSuchObject:
        return False
    return datastore.findtext("TYPE") == _BACKUP_DATASTORE
