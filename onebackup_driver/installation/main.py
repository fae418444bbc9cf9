# SPDX-License-Identifier: Apache-2.0
"""What install.sh calls with the Python of the new virtual environment: install, or --uninstall."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import onebackup_driver
from onebackup_driver import errors
from onebackup_driver.installation import contents, gateway_service, locating, market_driver, placing, receipt, schedule
from onebackup_driver.installation.locating import Place
from onebackup_driver.installation.placing import Change, Placer
from onebackup_driver.installation.receipt import Receipt

EXIT_STEP_FAILED = 4
#: What registering hooks and the completion need; a dry run before the first installation does not have it.
_NEEDED = ("lxml", "pyone", "yaml")


def main() -> int:
    """Do it; one line for each thing that was done, one line on what went wrong."""
    arguments = _parser().parse_args()
    try:
        place = locating.find()
        return uninstall(place, arguments.dry_run) if arguments.uninstall else install(place, arguments)
    except (locating.NotThere, errors.UsageError) as error:
        print(f"install.sh: {error}", file=sys.stderr)
        return error.exit_code
    except (errors.Error, OSError) as error:
        print(f"install.sh: {error}", file=sys.stderr)
        return EXIT_STEP_FAILED


def install(place: Place, arguments: argparse.Namespace) -> int:
    """Put every file in place, the schedule to work, the driver into oned.conf if wanted, and register the hooks."""
    source, dry_run = Path(arguments.source), bool(arguments.dry_run)
    if arguments.enable_market_driver and not contents.has_market_driver(source):
        raise errors.UsageError("this release has no marketplace driver; leave --enable-market-driver out")
    known = receipt.load(place.real(place.home))
    placer = Placer(place, known, dry_run)
    _own_directories(place, placer)
    known.version = onebackup_driver.__version__
    changes = _put_files(place, placer, known, arguments)
    chosen = _schedule(place, known, arguments)
    _start_schedule(place, known, chosen, changes, dry_run)
    known.schedule = chosen
    lines = market_driver.enable(place, known, placer.save, dry_run) if arguments.enable_market_driver else []
    _say(lines)
    placer.save()
    _start_gateway(place, known, source, dry_run)
    if contents.has_market_driver(source) and not arguments.enable_market_driver:
        _say(market_driver.advice(place))
    failed = not _register(place, known, source, placer)
    placer.save()
    _summary(place, known, changes, dry_run)
    return EXIT_STEP_FAILED if failed else 0


def uninstall(place: Place, dry_run: bool) -> int:
    """Remove what the receipt names; configuration, backups and the state directory stay."""
    home = place.real(place.home)
    known = receipt.load(home)
    placer = Placer(place, known, dry_run)
    if known.hooks:
        _say_hooks(_unregister(place, dry_run))
        known.hooks = False
        placer.save()
    if not dry_run:
        _stop_schedule(place, known)
        _stop_gateway(place, known)
    _say(market_driver.disable(place, known, dry_run))
    _say(map(_words(dry_run), _remove_files(place, placer, known)))
    if dry_run:
        return 0
    schedule.reload(place, known.schedule)
    (home / receipt.NAME).unlink(missing_ok=True)
    placer.remove_directories()
    return 0


def _own_directories(place: Place, placer: Placer) -> None:
    placer.make_directory(place.home, 0o755)
    state = place.var / "onebackup"
    placer.make_directory(state, 0o700, place.user.uid, place.user.gid)


def _put_files(place: Place, placer: Placer, known: Receipt, arguments: argparse.Namespace) -> list[Change]:
    source, chosen = Path(arguments.source), _schedule(place, known, arguments)
    wanted = contents.items(place, source, arguments.python, chosen)
    if _needs_gateway(place, source, arguments):
        wanted += gateway_service.items(place, source)
    elif not placer.dry_run:
        _stop_gateway(place, known)
    if _can(_NEEDED):
        wanted.append(_completion(place))
    if chosen != schedule.SYSTEMD and not placer.dry_run:
        _stop_schedule(place, known)
    changes = [placer.put(item) for item in wanted]
    if _can(_NEEDED):
        changes += _remove_files(place, placer, known, {str(item.path) for item in wanted})
    _say(map(_words(placer.dry_run), (change for change in changes if change.what != placing.UNCHANGED)))
    return changes


def _completion(place: Place) -> placing.Item:
    from onebackup_driver.cli import main as command
    from onebackup_driver.installation import completion

    return contents.completion(place, completion.render(command.parser()))


def _remove_files(place: Place, placer: Placer, known: Receipt, wanted: Iterable[str] = ()) -> list[Change]:
    """Remove what we installed and is not `wanted` (any more), but for the configuration."""
    own = contents.configuration(place)
    keep = {*wanted, str(own), *([f"{own}.new"] if wanted else [])}
    changes = []
    for name in [name for name in known.files if name not in keep]:
        is_schedule = Path(name) == schedule.CRON_FILE
        changes.append(placer.remove_schedule(Path(name)) if is_schedule else placer.remove(Path(name)))
    return changes if wanted else changes + placer.bring_back()


def _schedule(place: Place, known: Receipt, arguments: argparse.Namespace) -> str:
    return "" if arguments.no_timer else known.schedule or schedule.choose(place)


def _start_schedule(place: Place, known: Receipt, chosen: str, changes: list[Change], dry_run: bool) -> None:
    """Once, and after each change: a timer that was disabled since stays so. A start that failed is made up for."""
    units = [change for change in changes if change.path.parent == schedule.UNITS]
    changed = any(change.what != placing.UNCHANGED for change in units)
    if not dry_run and (changed or known.schedule != chosen):
        by_hand = schedule.start(place, chosen)
        _say([by_hand] if by_hand else [])


def _stop_schedule(place: Place, known: Receipt) -> None:
    """Also one whose start failed. That it cannot be stopped hinders nothing: its files go."""
    if str(schedule.UNITS / schedule.TIMER) not in known.files:
        return
    try:
        schedule.stop(place, schedule.SYSTEMD)
    except errors.Failed as error:
        _say([f"the timer was not stopped: {error}"])


def _needs_gateway(place: Place, source: Path, arguments: argparse.Namespace) -> bool:
    enabled = arguments.enable_market_driver or market_driver.is_enabled(place)
    return bool(enabled) and contents.has_market_driver(source)


def _start_gateway(place: Place, known: Receipt, source: Path, dry_run: bool) -> None:
    """Once: one that was disabled since stays so, but what runs is of this release. A start that failed is made up
    for. Raises Failed."""
    if dry_run or not market_driver.is_enabled(place):
        return  # a dry run names the unit that it would install
    package = gateway_service.fingerprint(source)
    if not known.gateway:
        _say(gateway_service.start(place))
        known.gateway = True
    elif known.package != package:
        _say(gateway_service.restart(place))
    known.package = package


def _stop_gateway(place: Place, known: Receipt) -> None:
    if str(schedule.UNITS / gateway_service.UNIT) in known.files:
        _say(gateway_service.stop(place))
    known.gateway = False


def _register(place: Place, known: Receipt, source: Path, placer: Placer) -> bool:
    """False when it did not work: everything else is there then, and another run does the rest."""
    if not _can(_NEEDED):
        _say(["would register the hooks of share/hooks"])
        return True
    from onebackup_driver.installation import registering

    reason = registering.reason_not_to(place)
    if reason:
        _say([f"hooks were not registered ({reason})"])
        return True
    try:
        if placer.dry_run:
            _say(registering.intentions(place, source))
            return True
        registering.require_access(place)
        known.hooks = True
        placer.save()  # before the first hook is there: --uninstall has to know even if we die now
        _say_hooks(registering.register(place, source))
    except errors.Error as error:
        print(f"install.sh: hooks were not registered: {error}; run ./install.sh again then", file=sys.stderr)
        return False
    return True


def _unregister(place: Place, dry_run: bool) -> Iterable[object]:
    from onebackup_driver.installation import registering

    try:
        return [] if dry_run else registering.unregister(place)
    except errors.Error as error:
        raise errors.Failed(f"hooks cannot be removed, so nothing was: {error}") from error


def _say_hooks(changes: Iterable[object]) -> None:
    _say(str(change) for change in changes if not str(change).endswith(": unchanged"))


def _words(dry_run: bool) -> Callable[[Change], str]:
    verbs = {placing.INSTALLED: "would install", placing.UPDATED: "would update", placing.REMOVED: "would remove"}

    def line(change: Change) -> str:
        text = str(change)
        return text.replace(change.what, verbs[change.what], 1) if dry_run and change.what in verbs else text

    return line


def _summary(place: Place, known: Receipt, changes: list[Change], dry_run: bool) -> None:
    if dry_run:
        return
    kinds = (placing.INSTALLED, placing.UPDATED, placing.UNCHANGED)
    counts = ", ".join(f"{sum(change.what == kind for change in changes)} {kind}" for kind in kinds)
    print(f"onebackup {known.version} on OpenNebula {_release(place)}: files {counts}")
    if place.location:
        print(f"for `onevm backup` and `onevm restore`: export PATH={place.wrappers}:$PATH")
    if not known.schedule:
        print(f"nothing starts backups yet; a line for the crontab of {place.user.name}: {schedule.advice(place)}")
    print("check it with: onebackup doctor")


def _release(place: Place) -> str:
    from onebackup_driver.installation import registering

    return place.version or registering.release(place) or "of unknown version"


def _can(modules: Iterable[str]) -> bool:
    return all(importlib.util.find_spec(name) for name in modules)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="install.sh")
    parser.add_argument("--source", required=True, help="the tree to install from")
    parser.add_argument("--python", required=True, help="the interpreter of the scripts")
    for option in ("--dry-run", "--uninstall", "--enable-market-driver", "--no-timer"):
        parser.add_argument(option, action="store_true")
    return parser


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
