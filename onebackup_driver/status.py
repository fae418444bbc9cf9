# SPDX-License-Identifier: Apache-2.0
"""Telling the VM's owner where its backup stands: ONEBACKUP in the VM's user template."""

from __future__ import annotations

from onebackup_driver import clock, cloud, errors, records, states, xml_values
from onebackup_driver.context import Context


def tell(context: Context, vm_id: int, state: str, message: str, **more: str) -> bool:
    """Write ONEBACKUP. A VM that cannot be written to (locked) is only worth a warning here; False is answered when
    what stands there now is of this run (RUN) and has to be put right later. A VM that is gone needs no telling."""
    try:
        write(context, vm_id, state, message, **more)
        return True
    except errors.FrontEndError as error:
        context.log.warning("Cannot write ONEBACKUP of VM %s: %s", vm_id, error)
        return is_gone(context, vm_id) or _speaks_of_another(context, vm_id, more.get("RUN", ""))


def write(context: Context, vm_id: int, state: str, message: str, **more: str) -> None:
    """Write ONEBACKUP. Raises FrontEndError."""
    text = records.status(state, message, clock.now(), **more)
    context.front_end.repeat("one.vm.update", vm_id, text, 1)


def says_run(context: Context, vm_id: int, run: str) -> bool:
    """Whether ONEBACKUP still tells of this run (or of none), so that correcting it hides nothing newer.

    Raises FrontEndError.
    """
    machine = cloud.machine_or_none(context, vm_id)
    told = "" if machine is None else xml_values.text(machine.element, "USER_TEMPLATE/ONEBACKUP/RUN")
    return machine is not None and told in ("", run)


def is_gone(context: Context, vm_id: int) -> bool:
    """Whether there is surely no VM any more that could be told anything."""
    try:
        machine = cloud.machine_or_none(context, vm_id)
    except errors.FrontEndError:
        return False
    return machine is None or machine.state.state == states.DONE


def _speaks_of_another(context: Context, vm_id: int, run: str) -> bool:
    try:
        return not says_run(context, vm_id, run)
    except errors.FrontEndError:
        return False
