# SPDX-License-Identifier: Apache-2.0
"""What a marketplace really stored: fetched from where a restore would fetch it."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Optional

from onebackup_driver import clock, errors, progress

_PIECE_BYTES = 1024 * 1024
_STALL_TIMEOUT_S = 60


@dataclass(frozen=True)
class Stored:
    """Length in bytes and MD5 (hexadecimal) of a fetched file; no MD5 when only the length was asked for."""

    length: int
    md5: Optional[str]


def fetch(url: str, with_checksum: bool, timeout_s: float, check_certificate: bool = True) -> Stored:
    """Fetch the whole file behind an http(s) URL. `check_certificate`: not needed where the bytes prove themselves.
    Raises Failed when it cannot be fetched to its end."""
    import requests
    import urllib3

    digest = hashlib.md5() if with_checksum else None
    deadline, length = clock.monotonic() + timeout_s, 0
    try:
        with (
            _any_certificate(not check_certificate),
            requests.get(
                url,
                stream=True,
                timeout=_STALL_TIMEOUT_S,
                headers={"Accept-Encoding": "identity"},
                verify=check_certificate,
            ) as answer,
        ):
            if answer.status_code != 200:
                raise errors.Failed(f"the marketplace answers {answer.status_code} {answer.reason} for {shown(url)}")
            # As a restore takes them: the bytes that are stored, not what a Content-Encoding would make of them.
            announced = _length(answer.headers.get("Content-Length", ""))
            for piece in answer.raw.stream(_PIECE_BYTES, decode_content=False):
                length += len(piece)
                progress.advance(length, announced or 0)
                if digest is not None:
                    digest.update(piece)
                if clock.monotonic() > deadline:
                    raise errors.TimedOut(f"fetching {shown(url)} took longer than {timeout_s:g} s")
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
        raise errors.Failed(
            f"cannot fetch what the marketplace stored at {shown(url)} ({_short(error, url)}): does its web server run,"
            " is its BASE_URL right?"
        ) from error
    if announced is not None and announced != length:
        raise errors.Failed(f"{shown(url)} broke off after {length} of {announced} bytes")
    return Stored(length, digest.hexdigest() if digest is not None else None)


def check_offered(url: str) -> None:
    """Ask the gateway whether a file is there, without fetching it; whatever its certificate. Raises Failed."""
    import requests

    try:
        with _any_certificate(True):
            answer = requests.head(url, timeout=_STALL_TIMEOUT_S, verify=False)
    except requests.exceptions.RequestException as error:
        raise errors.Failed(
            f"{shown(url)} cannot be asked for ({_short(error, url)}): does onebackup's gateway run"
            " (onebackup-gateway.service)?"
        ) from error
    if answer.status_code != 200:
        raise errors.Failed(f"the marketplace answers {answer.status_code} {answer.reason} for {shown(url)}")


@contextmanager
def _any_certificate(wanted: bool) -> Iterator[None]:
    """Without the warning of urllib3."""
    with warnings.catch_warnings():
        if wanted:
            warnings.simplefilter("ignore")
        yield


def shown(url: str) -> str:
    """A URL for messages, which tenants read too: without user and password, query, and what may be a token."""
    scheme, _, rest = url.partition("://")
    host, *path = rest.partition("?")[0].split("/")
    host = host.rpartition("@")[2]
    return f"{scheme}://{'/'.join([host, *path])}" if len(path) < 3 else f"{scheme}://{host}/.../{'/'.join(path[-2:])}"


def _length(text: str) -> Optional[int]:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _short(error: Exception, url: str) -> str:
    """What the operating system said, without what the HTTP client makes of it."""
    path = url.partition("://")[2].partition("/")[2]
    text = " ".join(str(error).replace(f"/{path}", "...").split())
    found = re.search(r"\[Errno -?\d+\] ([A-Za-z ]+)", text)
    return found.group(1).strip() if found else text[:160]


def local_length(path: str) -> Optional[int]:
    """Length in bytes of an image file when this machine can see it (datastores shared with the front-end)."""
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def local_head(path: str, length: int) -> Optional[bytes]:
    """The first bytes of an image file when this machine can read it."""
    try:
        with open(path, "rb") as stream:
            return stream.read(length)
    except OSError:
        return None


def local_md5(path: str) -> Optional[str]:
    """MD5 of an image file when this machine can read it."""
    digest = hashlib.md5()
    try:
        with open(path, "rb") as stream:
            for piece in iter(lambda: stream.read(_PIECE_BYTES), b""):
                digest.update(piece)
    except OSError:
        return None
    return digest.hexdigest()
