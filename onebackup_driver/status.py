# SPDX-License-Identifier: Apache-2.0
"""Telling the VM's owner where its backup stands: ONEBACKUP in the VM's user template."""

from __future__ import annotations

from onebackup_driver import clock, errors, records
from onebackup_driver.context import Context


def tell(context: Context, vm_id: int, state: str, message: str, **more: str) -> None:
    """Write ONEBACKUP; a VM that cannot be written to (gone, locked) is only worth a warning."""
    text = records.status(state, message, clock.now(), **more)
    try:
        context.front_end.repeat("one.vm.update", vm_id, text, 1)
    except errors.FrontEndError as error:
        context.log.warning("Cannot write ONEBACKUP of VM %s: %s", vm_id, error)
