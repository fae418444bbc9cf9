# SPDX-License-Identifier: Apache-2.0
"""Requests that wait on disk to be carried out; they survive crashes of whoever asked and whoever works.

    queue/waiting/vm-42.now.json    one file per VM and reason: the same request never waits twice
    queue/claimed/vm-42.now.json    taken; its taker holds a kernel lock on this very file until it has finished
    queue/finished/TIME-ID.json     what became of the last ones
    queue/unreadable/…              set aside

Taking is a rename, so exactly one taker gets a request; looking, renaming and locking happen under the lock of the
queue. A claim whose lock can be had belongs to a process that died. If its outcome was written, it had ended and is
only cleared away. Otherwise it goes back to waiting, at most twice more: what the dead process did to the VM is in the
journal of its run, and whoever takes the request next recovers that first and asks the catalogue whether a restore
point from a second after `requested_at` exists (serving.py). So a request is carried out again only when it had no
effect, or all of it within the second in which it was made.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import stat
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Optional

from onebackup_driver import clock, errors, files, json_text

#: BACKUP/ACTION="NOW" · the VM is off and due · one.vm.backup failed · the VM is DONE.
NOW, OFF, NATIVE, TERMINATED = "now", "off", "native", "terminated"

FORMAT = 1
LIMIT = 10_000
ATTEMPTS = 3
_FINISHED_KEPT = 200
_REQUEST_BYTES = 1024 * 1024
_NAME = re.compile(r"vm-(\d{1,9})\.([a-z]{1,20})\.json\Z")
_log = logging.getLogger("onebackup.queue")


class Full(errors.Refused):
    """The queue holds as many requests as it may."""


@dataclass(frozen=True)
class Request:
    """`requested_at`: a restore point from after that second satisfies it; `queued_at` orders; not taken before
    `not_before` (seconds since the epoch); `attempts`: how many takers died with it; `owner`: of the VM, -1 when
    unknown."""

    vm_id: int
    reason: str
    requested_by: str
    requested_at: int
    queued_at: int
    not_before: int = 0
    attempts: int = 0
    request_id: str = ""
    owner: int = -1
    descriptor: int = field(default=-1, compare=False, repr=False)

    @property
    def file_name(self) -> str:
        return f"vm-{self.vm_id}.{self.reason}.json"


def add(directory: Path, vm_id: int, reason: str, requested_by: str, owner: int = -1) -> Request:
    """Queue a request durably. One that waits already for the same VM and reason is only renewed: asking again makes
    nothing begin sooner.

    Raises Full, or OSError when it cannot be written.
    """
    now = clock.now()
    new = Request(vm_id, reason, requested_by, now, now, request_id=uuid.uuid4().hex, owner=owner)
    with _locked(directory):
        place = directory / "waiting" / new.file_name
        old = _read(place)
        if old is not None:
            not_before = old.not_before if old.requested_at <= now else 0  # else the clock was ahead then
            new = replace(new, queued_at=old.queued_at, request_id=old.request_id, attempts=old.attempts)
            new = replace(new, not_before=not_before)
        elif len(os.listdir(place.parent)) >= LIMIT:
            raise Full(f"{LIMIT} requests wait already in {directory}; does the timer run?")
        _write(place, new)
    return new


def waiting(directory: Path) -> list[Request]:
    """The requests that wait, the oldest first."""
    return _all(directory / "waiting")


def claimed(directory: Path) -> list[Request]:
    """The requests that were taken and have not ended; also those of a taker that died, until the next `take`."""
    return _all(directory / "claimed")


def take(directory: Path, limit: Optional[int] = None) -> list[Request]:
    """Claim waiting requests, at most `limit`: the owners of the VMs take turns, each with its oldest. They are the
    caller's until `finish` or `put_back`, or until its process ends. A VM and reason that somebody works on is left
    waiting."""
    taken: list[Request] = []
    with _locked(directory):
        _clear_half_written(directory)
        _clear_dead_claims(directory)
        for request in _by_turns(directory):
            if limit is not None and len(taken) >= limit:
                break
            if request.not_before <= clock.now() and not (directory / "claimed" / request.file_name).exists():
                taken.append(_claim(directory, request))
    return taken


def _by_turns(directory: Path) -> list[Request]:
    """What waits, first of those owners for whom least was done lately: a hundred requests of one hold nobody up."""
    turns = Counter(request.owner for request, _, _ in finished(directory))
    found = []
    for request in waiting(directory):
        found.append((turns[request.owner], request))
        turns[request.owner] += 1
    return [request for _, request in sorted(found, key=lambda item: item[0])]


def finish(directory: Path, request: Request, outcome: str) -> None:
    """Note what became of a taken request, in words; it will not be run again."""
    with _locked(directory):
        _end(directory, request, outcome)
    os.close(request.descriptor)


def put_back(directory: Path, request: Request, delay_s: int = 0) -> None:
    """Let a taken request wait again, for at least `delay_s` seconds: it could not be begun."""
    with _locked(directory):
        _wait_again(directory, replace(request, not_before=clock.now() + delay_s))
    os.close(request.descriptor)


def finished(directory: Path) -> list[tuple[Request, int, str]]:
    """The last requests that ended, the newest last: request, time, outcome."""
    found = []
    for path in sorted((directory / "finished").glob("*.json")):
        request = _read(path)
        if request is not None:
            ended, outcome = _outcome(path)
            found.append((request, ended, outcome))
    return found


def _outcome(path: Path) -> tuple[int, str]:
    try:
        document = json_text.read(path)
        return int(path.name.split("-")[0][:12]), str(document.get("outcome", ""))
    except (OSError, ValueError, AttributeError):
        return 0, ""  # gone since, or of somebody else's making


def _clear_half_written(directory: Path) -> None:
    """All is written under the lock: what is half there now is of a process that died."""
    for path in [*directory.glob("waiting/.*"), *directory.glob("claimed/.*"), *directory.glob("finished/.*")]:
        path.unlink(missing_ok=True)


def _clear_dead_claims(directory: Path) -> None:
    for path in _files(directory / "claimed"):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # its taker lives
        else:
            request = _read(path)
            if request is not None:
                _take_over(directory, request)
        finally:
            os.close(descriptor)


def _take_over(directory: Path, request: Request) -> None:
    if any((directory / "finished").glob(f"*-{request.request_id}.json")):
        _forget_claim(directory, request)
    elif request.attempts + 1 >= ATTEMPTS:
        _log.error("VM %s: %s processes died with the request '%s': given up", request.vm_id, ATTEMPTS, request.reason)
        _end(directory, request, f"given up: {ATTEMPTS} processes died with it")
    else:
        _log.warning("VM %s: the process that had the request '%s' died", request.vm_id, request.reason)
        _wait_again(directory, replace(request, attempts=request.attempts + 1))


def _wait_again(directory: Path, request: Request) -> None:
    place = directory / "waiting" / request.file_name
    if not place.exists():  # else it was asked for again meanwhile: that one is younger and does for both
        _write(place, request)
    _forget_claim(directory, request)


def _end(directory: Path, request: Request, outcome: str) -> None:
    path = directory / "finished" / f"{clock.now():012d}-{request.request_id}.json"
    _write(path, request, outcome=outcome)
    _forget_claim(directory, request)
    for old in _files(path.parent)[:-_FINISHED_KEPT]:
        old.unlink(missing_ok=True)


def _forget_claim(directory: Path, request: Request) -> None:
    (directory / "claimed" / request.file_name).unlink(missing_ok=True)
    files.sync_directory(directory / "claimed")


def _claim(directory: Path, request: Request) -> Request:
    claim = directory / "claimed" / request.file_name
    os.rename(directory / "waiting" / request.file_name, claim)
    files.sync_directory(directory / "claimed")
    files.sync_directory(directory / "waiting")
    descriptor = os.open(claim, os.O_RDWR | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return replace(request, descriptor=descriptor)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    for name in ("waiting", "claimed", "finished"):
        files.make_private_directory(directory / name)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*.json") if not path.name.startswith("."))


def _all(directory: Path) -> list[Request]:
    found = [request for path in _files(directory) if (request := _read(path)) is not None]
    return sorted(found, key=lambda request: (request.queued_at, request.vm_id, request.reason))


def _write(path: Path, request: Request, **more: str) -> None:
    document = {"format": FORMAT, **asdict(request), **more}
    del document["descriptor"]
    files.write(path, json.dumps(document).encode())


def _read(path: Path) -> Optional[Request]:
    """The request in a file; None when it is gone, or cannot be read and was set aside."""
    try:
        return _parse(_content(path), path.name)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _set_aside(path, error)
        return None


def _content(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no file")
        return stream.read(_REQUEST_BYTES)


def _parse(content: bytes, name: str) -> Request:
    document = json_text.parse(content)
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']}, this version reads {FORMAT}")
    texts = {key: str(document[key]) for key in ("reason", "requested_by", "request_id")}
    keys = ("vm_id", "requested_at", "queued_at", "not_before", "attempts")
    numbers = {key: json_text.whole(document[key]) for key in keys}
    numbers["owner"] = json_text.whole(document.get("owner", -1))  # not in requests of an older version
    request = Request(**texts, **numbers)  # type: ignore[arg-type]
    if not _NAME.match(request.file_name) or not re.fullmatch(r"[0-9a-f]{32}", request.request_id):
        raise ValueError("not a request")
    if _NAME.match(name) and name != request.file_name:
        raise ValueError(f"it holds the request {request.file_name}")
    return request


def _set_aside(path: Path, error: Exception) -> None:
    aside = path.parent.parent / "unreadable"
    try:
        files.make_private_directory(aside)
        os.replace(path, aside / path.name)
        _log.warning("The request %s cannot be read (%s): set aside in %s", path.name, error, aside)
    except OSError as problem:
        _log.warning("The request %s cannot be read (%s) nor set aside (%s)", path.name, error, problem)
