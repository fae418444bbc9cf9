# SPDX-License-Identifier: Apache-2.0
"""The command lines of onevm that are ours, and what is done for them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Optional, Union

from onebackup_driver import errors, plain

if TYPE_CHECKING:
    from onebackup_driver.context import Context

EXIT_ERROR = 255
_MOST_VMS = 10_000
#: Front-ends whose own `restore -d` can restore what their own `backup` made.
_STOCK_RESTORES = ("6.0", "6.1", "6.2", "6.3", "6.4", "6.5")

StockCall = Callable[[list[str]], int]


class _NotOurs(Exception):
    """The stock command shall see to it."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _NotOurs(message)


def attempt(command: str, words: list[str], stock: StockCall) -> Optional[int]:
    """Carry out `backup` or `restore` if it is ours; the exit code, or None when the stock command shall see to it.

    `stock` runs the stock command with arguments, for those VMs of a list that are not ours.
    """
    from onebackup_driver import signals

    try:
        arguments = (_backup_parser() if command == "backup" else _restore_parser()).parse_args(words)
        signals.install()
        return _backup(arguments, words, stock) if command == "backup" else _restore(arguments)
    except _NotOurs:
        return None
    except errors.Terminated as error:
        print(plain.line(f"ERROR: {error}; {error.undone}"), file=sys.stderr)
        return 128 + error.signal_number


def _backup_parser() -> argparse.ArgumentParser:
    parser = _common_parser()
    parser.add_argument("vms")
    parser.add_argument("--keep-backup", action="store_true")
    parser.add_argument("--oneshot", action="store_true")
    parser.add_argument("--market")
    return parser


def _restore_parser() -> argparse.ArgumentParser:
    parser = _common_parser()
    parser.add_argument("vm")
    parser.add_argument("-d", "--datastore", required=True)
    return parser


def _common_parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--logger")
    return parser


def _backup(arguments: argparse.Namespace, words: list[str], stock: StockCall) -> int:
    if arguments.oneshot and arguments.market is None:
        if not arguments.vms.replace(",", "").replace(".", "").isdigit():
            raise _NotOurs
        return _error("no market given")
    listed = _words(arguments.vms)
    market = _number(arguments.market) if arguments.market is not None else None
    context = _context()
    ids = _ids(context, listed)
    ours = ids if market is not None else [vm_id for vm_id in ids if _has_section(context, vm_id)]
    if not ours:
        raise _NotOurs
    _log_as_stock(context, arguments)
    codes = []
    for vm_id in ids:
        if vm_id in ours:
            codes.append(_backup_one(context, vm_id, arguments, market))
        else:
            codes.append(stock(["backup", *(str(vm_id) if word == arguments.vms else word for word in words)]))
    return max(codes)


def _backup_one(context: Context, vm_id: int, arguments: argparse.Namespace, market: Optional[int]) -> int:
    from onebackup_driver import backup, planning

    if arguments.verbose:
        print(f"VM {vm_id}: Backup", flush=True)
    request = planning.Request(keep_backup=arguments.keep_backup, oneshot=arguments.oneshot, marketplace_id=market)
    try:
        outcome = backup.run(context, vm_id, request)
        if arguments.verbose and outcome.point is None:
            context.log.info("%s", backup.summary(outcome))
        return errors.EXIT_DONE
    except errors.Error as error:
        return _error(str(error))


def _restore(arguments: argparse.Namespace) -> int:
    vm_id = _number(arguments.vm)
    context = _context()
    from onebackup_driver import listing, restore, source

    try:
        if not listing.restore_points(context, vm_id) and context.front_end.version()[:3] in _STOCK_RESTORES:
            raise _NotOurs
    except errors.FrontEndError as error:
        raise _NotOurs from error
    arguments.verbose = arguments.verbose or arguments.logger is None  # the stock restore prints its log
    _log_as_stock(context, arguments)
    request = restore.Request(datastore=arguments.datastore)
    try:
        print(f"ID: {restore.run(context, lambda: source.of_vm(context, vm_id, ''), vm_id, request)}")
        return errors.EXIT_DONE
    except errors.Error as error:
        return _error(str(error))


def _context() -> Context:
    """The connection; without a front-end, a session, or the right to keep a journal it is not ours."""
    from onebackup_driver import frontend
    from onebackup_driver.cli import options

    try:
        context = options.context(verbose=False)
        frontend.connect(context.where, context.timeouts.call_s, patience_s=0).version()
    except (errors.Error, OSError) as error:
        raise _NotOurs from error
    if not _may_write(context.where.state):
        raise _NotOurs
    return context


def _may_write(state: os.PathLike[str]) -> bool:
    path = os.fspath(state)
    while not os.path.exists(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    return os.path.isdir(path) and os.access(path, os.W_OK)


def _log_as_stock(context: Context, arguments: argparse.Namespace) -> None:
    from onebackup_driver import logs

    try:
        context.log = logs.set_up(arguments.verbose, arguments.logger)
    except OSError as error:
        raise _NotOurs from error


def _has_section(context: Context, vm_id: int) -> bool:
    from onebackup_driver import cloud

    try:
        return cloud.machine(context, vm_id).backup is not None
    except errors.Refused:
        return False  # the stock command says what it says of a VM that is not there
    except errors.FrontEndError as error:
        raise _NotOurs from error


def _words(text: str) -> list[Union[range, str]]:
    """`0,3..5,web` in its parts, ids as ranges and names as they are: lists and ranges of the stock commands
    (src/cli/cli_helper.rb)."""
    found: list[Union[range, str]] = []
    for word in text.split(","):
        first, dots, last = word.partition("..")
        if dots or (word.isascii() and word.isdigit()):
            begin, end = _number(first), _number(last if dots else first)
            if not 0 <= end - begin < _MOST_VMS:
                raise _NotOurs
            found.append(range(begin, end + 1))
        else:
            found.append(word)
    return found


def _ids(context: Context, words: list[Union[range, str]]) -> list[int]:
    """The VMs, each once, in their order."""
    ids: list[int] = []
    for word in words:
        ids += [_id_of(context, word)] if isinstance(word, str) else word
    return list(dict.fromkeys(ids))


def _id_of(context: Context, name: str) -> int:
    try:
        pool = context.front_end.element("one.vmpool.info", -2, -1, -1, -1)
    except errors.FrontEndError as error:
        raise _NotOurs from error
    found = [item.findtext("ID", "") for item in pool.findall("VM") if item.findtext("NAME") == name]
    if not name or len(found) != 1:
        raise _NotOurs
    return int(found[0])


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise _NotOurs
    return int(text)


def _error(message: str) -> int:
    print(plain.line(message), file=sys.stderr)
    return EXIT_ERROR
