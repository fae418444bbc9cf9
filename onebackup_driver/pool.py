# SPDX-License-Identifier: Apache-2.0
"""The VM pool, page by page.

one.vmpool.info is a third of the size but leaves BACKUP out, so that infoset would have to bring every VM again:
infoextended is what is cheapest. Of a page only what planning needs is kept. (Measured in bench/pool.py: a pull
parser that forgets VM by VM is slower than libxml2's tree of one page, and with pages saves little.)
"""

from __future__ import annotations

from dataclasses import dataclass

from onebackup_driver import errors, pool_vm, xml_text
from onebackup_driver.frontend import FrontEnd
from onebackup_driver.pool_vm import PoolVm

#: About 3.5 MiB of XML. A page of one cannot be asked for: -1 means all (recordings).
PAGE_VMS = 500
#: VMs that come and go while the pool is read move the others: each page begins with some of the page before.
_OVERLAP_VMS = 10
_PAGE_BYTES = 1024 * 1024 * 1024
_ATTEMPTS = 3
_METHOD = "one.vmpool.infoextended"
_ALL_USERS, _NOT_DONE = -2, -1


class Unreadable(errors.Error):
    """The pool could not be read wholly: nothing may be concluded from what was read."""


@dataclass(frozen=True)
class Pool:
    """`machines`: the VMs with BACKUP or ONEBACKUP, by their ids. `total`: how many VMs there are in all."""

    machines: list[PoolVm]
    total: int


@dataclass(frozen=True)
class _Page:
    ids: list[int]
    machines: dict[int, PoolVm]


class _Moved(Exception):
    """The pool changed under the reading so much that pages no longer meet."""


def read(front_end: FrontEnd, page_vms: int = PAGE_VMS) -> Pool:
    """The whole pool but VMs in DONE. Raises Unreadable or FrontEndError."""
    for _ in range(_ATTEMPTS):
        try:
            return _read_all(front_end, page_vms)
        except _Moved:
            continue
    raise Unreadable(f"the VM pool changed all the time while it was read ({_ATTEMPTS} attempts); try again later")


def _read_all(front_end: FrontEnd, page_vms: int) -> Pool:
    seen: set[int] = set()
    machines: dict[int, PoolVm] = {}
    last, offset = -1, 0
    while True:
        page = _read_page(front_end, offset, page_vms)
        fresh = _after(page.ids, last)
        if not fresh:  # only a page with nothing new proves that the one before was the last
            return Pool([machines[vm_id] for vm_id in sorted(machines)], len(seen))
        seen.update(fresh)
        machines.update(page.machines)
        last = fresh[-1]
        offset += len(page.ids)
        offset -= min(_OVERLAP_VMS, page_vms // 2, offset)


def _after(ids: list[int], last: int) -> list[int]:
    if last < 0:
        return ids
    if last not in ids:
        raise _Moved
    return ids[ids.index(last) + 1 :]


def _read_page(front_end: FrontEnd, offset: int, page_vms: int) -> _Page:
    text = front_end.read(_METHOD, _ALL_USERS, offset, -page_vms, _NOT_DONE, "")
    ids: list[int] = []
    machines: dict[int, PoolVm] = {}
    try:
        for element in xml_text.parse(str(text), _PAGE_BYTES).iterchildren("VM"):
            ids.append(int(element.findtext("ID", "")))
            machine = pool_vm.parse(element)
            if machine is not None:
                machines[machine.vm_id] = machine
    except ValueError as error:
        raise Unreadable(f"{_METHOD} answered what cannot be read: {' '.join(str(error).split())[:200]}") from error
    if len(ids) > page_vms:
        raise Unreadable(f"{_METHOD} answered {len(ids)} VMs when asked for {page_vms}")
    return _Page(ids, machines)
