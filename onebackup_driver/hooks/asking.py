# SPDX-License-Identifier: Apache-2.0
"""What several hooks do: reach the front-end without patience, queue a request and see to a worker."""

from __future__ import annotations

from onebackup_driver import configuration, frontend, logs, paths, queue, worker
from onebackup_driver.context import Context
from onebackup_driver.vm import VirtualMachine

#: A hook must not hold one of the ten executors of the front-end; what it misses the timer does.
_CALL_TIMEOUT_S = 10.0
_PATIENCE_S = 0.0


def context() -> Context:
    """Configuration and connection. Raises UsageError or Refused."""
    where = paths.find()
    site = configuration.load(where.configuration)
    if site.state_directory:
        where = paths.with_state(where, site.state_directory)
    front_end = frontend.connect(where, min(_CALL_TIMEOUT_S, site.timeouts.call_s), _PATIENCE_S)
    return Context(front_end, site, where, logs.set_up(verbose=False))


def queued(context: Context, machine: VirtualMachine, reason: str, requested_by: str) -> str:
    """Queue a request; the line to say. Raises Full or OSError when it could not be queued."""
    queue.add(context.where.queue, machine.vm_id, reason, requested_by, machine.uid)
    return f"VM {machine.vm_id}: queued ({reason})"


def see_to_worker(context: Context) -> None:
    """Start a worker when none runs; when that fails, the timer takes the request."""
    try:
        worker.start(context.where)
    except OSError as error:
        context.log.warning("No worker could be started (%s): the timer takes the request", error)
