# SPDX-License-Identifier: Apache-2.0
"""Bringing a VM to rest and giving it its power state back.

oned says yes to a poweroff or resume and may fall back to the old state without an error (opennebula.md 4.2): the
state is watched, and right after the call the old state may still be shown (recordings: up to two seconds).
"""

from __future__ import annotations

from typing import Optional

from onebackup_driver import clock, cloud, errors, states, waiting
from onebackup_driver.context import Context
from onebackup_driver.journal import Journal, Step
from onebackup_driver.modes import Mode
from onebackup_driver.vm import VirtualMachine

#: The old state is shown this long at most before an accepted action begins (a loaded oned takes its time).
_GRACE_S = 30.0
#: A VM that is down is looked at often: its users are waiting.
_PAUSE_S = 0.5
_RESUME_ATTEMPTS = 3
_IN_WORDS = {"poweroff": "power off", "suspend": "suspend"}


def bring_down(context: Context, step: Step, machine: VirtualMachine, mode: Mode) -> None:
    """Power off or suspend a RUNNING VM and see it at rest. Raises Failed when it stays or falls back to RUNNING.

    What is refused ends the step at once: a VM that is down then was brought down by somebody else.
    """
    try:
        context.front_end.call("one.vm.action", mode.action, machine.vm_id)
    except errors.CallRefused as error:
        step.ended = True
        raise errors.Failed(f"the front-end refused to {mode.action} VM {machine.vm_id}: {error}") from error
    except errors.OutcomeUnknown:
        context.log.warning("No answer to %s of VM %s, watching its state", mode.action, machine.vm_id)
    watch = _Watch(context, machine.vm_id, states.RUNNING, mode.rest, mode.action)
    what = f"VM {machine.vm_id} did not {_IN_WORDS[mode.action]}"
    watch.wait(context.timeouts.power_off_s, what, "power_off_s")


def prove_as_planned(context: Context, planned: VirtualMachine) -> None:
    """Raise Failed when the VM was restarted, moved or changed since it was read: another front-end may be at work on
    it, and its history would not tell later who stopped it, we or somebody else."""
    if cloud.machine(context, planned.vm_id).history_sequence != planned.history_sequence:
        raise errors.Failed(
            f"VM {planned.vm_id} was restarted, moved or changed by somebody else since this backup began;"
            " it was not stopped, try again"
        )


def give_back(context: Context, book: Journal, step: Step) -> None:
    """Undo of `bring_down`, also long after: the VM runs again, or somebody else decided otherwise meanwhile.

    Facts of the step: vm_id, action, history_sequence (as it was when we brought it down) and attempts (how often we
    resumed it: each may have made it grow by one). Raises NeedsAttention when the VM cannot be started.
    """
    vm_id = int(step.facts["vm_id"])
    rest = states.SUSPENDED_STATE if step.facts["action"] == "suspend" else states.POWERED_OFF
    for attempt in range(1, _RESUME_ATTEMPTS + 1):
        machine = _settled(context, vm_id)
        if machine is None or machine.state != rest or not _as_we_left_it(context, machine, step):
            _say_hands_off(context, vm_id, machine, rest)
            return
        try:
            resume(context, book, step, rest)
            return
        except (errors.Failed, errors.CallRefused) as error:
            if attempt == _RESUME_ATTEMPTS or isinstance(error, errors.NotAuthorized):
                raise _left_down(vm_id, rest, error) from error
            context.log.warning("%s; trying again", error)


def resume(context: Context, book: Journal, step: Step, rest: states.VmState) -> None:
    """Start the VM that the step brought down; the attempt is journalled first."""
    step.facts["attempts"] = int(step.facts.get("attempts", 0)) + 1
    try:
        book.save()
    except OSError as error:  # a full disk must not keep a VM down
        context.log.error("The journal is not up to date: %s", errors.in_words(error))
    start(context, int(step.facts["vm_id"]), rest, int(step.facts["history_sequence"]))


def _as_we_left_it(context: Context, machine: VirtualMachine, step: Step) -> bool:
    """Whether nobody else stopped the VM: neither instead of us, nor after a start since. A start that failed, ours or
    a user's, says that it shall run."""
    first = int(step.facts["history_sequence"])
    instead = machine.was_stopped_by_another(first, context.own_uid)
    again = machine.was_stopped and machine.starts_since(first) > 0
    return machine.history_sequence >= first and not instead and not again


def start(context: Context, vm_id: int, rest: states.VmState, since: int) -> None:
    """Resume a VM at rest and prove that it ran. Raises Failed (it fell back) or CallRefused.

    `since`: the history record that our stop ended. Once it has run, it is back: what stopped it after that is its
    user's or its guest's wish.
    """
    try:
        context.front_end.call("one.vm.action", "resume", vm_id)
    except errors.OutcomeUnknown:
        context.log.warning("No answer to resume of VM %s, watching its state", vm_id)
    except errors.CallRefused as error:
        if isinstance(error, errors.NotAuthorized) or not _on_its_way(cloud.machine(context, vm_id)):
            raise
        context.log.warning("VM %s was started by somebody else just now: %s", vm_id, error)
    watch = _Watch(context, vm_id, rest, states.RUNNING, "resume", since)
    try:
        machine = watch.wait(context.timeouts.power_on_s, f"VM {vm_id} did not start", "power_on_s")
    except errors.CallRefused as error:  # of a look, not of the resume: whether it runs is not known
        raise errors.Failed(f"the state of VM {vm_id} could not be read after resume: {error}") from error
    if machine.state != states.RUNNING:
        context.log.warning(
            "VM %s is %s: stopped by somebody right after it was started, leaving it so", vm_id, machine.state
        )


def _on_its_way(machine: VirtualMachine) -> bool:
    booting = machine.state.state == states.ACTIVE and machine.state.lcm_state in states.BOOTING_LCM_STATES
    return booting or machine.state == states.RUNNING


class _Gone(Exception):
    """There is no such VM any more."""


class _Watch:
    """Watches one VM go from `old` to `new`; every other end is a named failure."""

    def __init__(
        self, context: Context, vm_id: int, old: states.VmState, new: states.VmState, action: str, since: int = -1
    ):
        self._context, self._vm_id, self._old, self._new, self._action = context, vm_id, old, new, action
        self._since = since
        self._left_old = False
        self._began, self._grace_s = clock.monotonic(), _GRACE_S

    def wait(self, timeout_s: float, what: str, option: str) -> VirtualMachine:
        """Wait for the new state; with `since`, also for another rest after a start. Raises Failed or TimedOut."""
        self._grace_s = min(_GRACE_S, timeout_s / 2)
        return waiting.until(self._look, timeout_s, what, _PAUSE_S, option)

    def _look(self) -> Optional[VirtualMachine]:
        machine = cloud.machine(self._context, self._vm_id)
        if machine.state == self._new or self._ran(machine):
            return machine
        if machine.state == self._old:
            self._still_old(machine)
        elif machine.state.state == states.DONE:
            raise errors.Failed(f"VM {self._vm_id} was terminated by somebody else during {self._action}")
        elif machine.state in states.AT_REST or machine.state.lcm_state in states.FAILURE_LCM_STATES:
            raise errors.Failed(f"VM {self._vm_id} went to {machine.state} instead of {self._new} after {self._action}")
        else:
            self._left_old = True
        return None

    def _ran(self, machine: VirtualMachine) -> bool:
        at_rest = self._since >= 0 and machine.state in states.AT_REST
        return at_rest and machine.was_stopped and machine.starts_since(self._since) > 0

    def _still_old(self, machine: VirtualMachine) -> None:
        if self._left_old:
            reason = f" ({machine.error_text})" if machine.error_text else ""
            raise errors.Failed(
                f"{self._action} of VM {self._vm_id} failed on its host, it fell back to {self._old}{reason};"
                f" the reason is in /var/log/one/{self._vm_id}.log"
            )
        if clock.monotonic() - self._began > self._grace_s:
            raise errors.Failed(f"VM {self._vm_id} stayed {self._old} although the front-end accepted {self._action}")


def _settled(context: Context, vm_id: int) -> Optional[VirtualMachine]:
    """The VM once nothing is under way on it that ends in one of our states; None when it is gone."""

    def look() -> Optional[VirtualMachine]:
        try:
            machine = cloud.machine_or_none(context, vm_id)
        except errors.NoSuchObject:
            return None  # the front-end contradicts itself: asked again
        if machine is None:
            raise _Gone
        passing = machine.state.state == states.ACTIVE and machine.state.lcm_state in states.PASSING_LCM_STATES
        return None if passing else machine

    try:
        return waiting.until(look, context.timeouts.undo_s, f"VM {vm_id} did not come to rest", _PAUSE_S)
    except errors.TimedOut as error:
        raise errors.NeedsAttention(str(error), f"onevm show {vm_id}; when it is at rest: onebackup recover") from error
    except _Gone:
        return None


def _say_hands_off(context: Context, vm_id: int, machine: Optional[VirtualMachine], rest: states.VmState) -> None:
    if machine is None or machine.state != states.RUNNING:
        now = "gone" if machine is None else str(machine.state)
        context.log.warning("VM %s is %s now, not %s as this run left it: leaving it alone", vm_id, now, rest)


def _left_down(vm_id: int, rest: states.VmState, error: Exception) -> errors.NeedsAttention:
    command = f"onevm resume {vm_id}"
    if isinstance(error, errors.NotAuthorized):
        command = f"onevm unlock {vm_id} && {command}"
    return errors.NeedsAttention(f"VM {vm_id} is left {rest} because it could not be resumed ({error})", command)
