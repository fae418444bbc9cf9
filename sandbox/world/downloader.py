# SPDX-License-Identifier: Apache-2.0
"""What downloader.sh does: bring a path, http(s) URL or s3 object into a file.

curl does the transfers, as in OpenNebula (certificates are not checked there either). Every source is
read twice unless decompression is off: first its head, to know its kind by its bytes, then all of it;
the first transfer is broken off. gz, bz2 and xz are decompressed. Archives (tar, zip) are not unpacked.
"""
from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Optional

_BLOCK = 2**20
_HEAD_BYTES = 64 * 1024
_MAGICS = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz"}


class DownloadFailed(Exception):
    """The text is what downloader.sh leaves on stderr."""


@dataclass(frozen=True)
class Request:
    """One download. `market`: the marketplace's template, which holds the keys for s3:// sources."""

    source: str
    destination: Path
    decompress: bool = True
    limit_rate: str = ""
    md5: str = ""
    sha1: str = ""
    market: Mapping[str, str] = field(default_factory=dict)
    retries: int = 0


@dataclass(frozen=True)
class Head:
    """The begin of what a URL serves, and its length if the server says."""

    first_bytes: bytes
    length: Optional[int]


def fetch(request: Request) -> None:
    """Write the source to the destination. Raises DownloadFailed; what was written so far stays."""
    argv = _source_command(request)
    kind = compression(_peek(argv)) if request.decompress else None
    algorithm = "md5" if request.md5 else "sha1"
    digest = hashlib.new(algorithm, usedforsecurity=False)
    try:
        with _opened(argv) as stream:
            _write(_decompressed(_Hashed(stream, digest), kind), request.destination)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DownloadFailed(f"{error}\nError copying") from error
    expected = request.md5 or request.sha1
    if expected and digest.hexdigest() != expected.lower():
        raise DownloadFailed("Hash does not match")


def compression(first_bytes: bytes) -> Optional[str]:
    """Return gz, bz2 or xz by the first bytes, None for anything else."""
    return next((kind for magic, kind in _MAGICS.items() if first_bytes.startswith(magic)), None)


def decompressed_size(path: Path) -> Optional[int]:
    """Return the size in bytes of a compressed file's content, None when it is not compressed."""
    with open(path, "rb") as stream:
        kind = compression(stream.read(16))
        if kind is None:
            return None
        stream.seek(0)
        try:
            return sum(len(block) for block in _blocks(_decompressed(stream, kind)))
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise DownloadFailed(str(error)) from error


def qcow2_virtual_size(first_bytes: bytes) -> Optional[int]:
    """Return the virtual size in a qcow2 header, None when it is not one."""
    if not first_bytes.startswith(b"QFI\xfb") or len(first_bytes) < 32:
        return None
    size: int = struct.unpack_from(">Q", first_bytes, 24)[0]
    return size


def head(url: str) -> Head:
    """Return the first bytes of a URL and the Content-Length of a HEAD request. Raises DownloadFailed."""
    first_bytes = _peek(_curl(["--", url]))
    if not first_bytes:
        raise DownloadFailed(f"nothing to be had from {url}")
    answer = subprocess.run(
        ["curl", "-sS", "-L", "-I", "-k", "--max-time", "60", "--", url],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )
    lengths = re.findall(r"^content-length:\s*(\d+)", answer.stdout, re.I | re.M)
    return Head(first_bytes, int(lengths[-1]) if lengths else None)


def _source_command(request: Request) -> list[str]:
    source = request.source
    if source.startswith(("http://", "https://")):
        limit = ["--limit-rate", request.limit_rate] if request.limit_rate else []
        return _curl([*limit, "--", source], request.retries)
    if source.startswith("s3://"):
        return _curl(_s3_arguments(source, request.market), request.retries)
    try:
        with open(source, "rb"):
            return ["cat", source]
    except OSError as error:
        raise DownloadFailed(f"Cannot read from {source}") from error


def _curl(arguments: list[str], retries: int = 0) -> list[str]:
    retry = ["--retry", str(retries), "--retry-delay", "1", "--retry-all-errors"] if retries else []
    return ["curl", "--fail", "-sS", "-k", "-L", *retry, *arguments]


def _s3_arguments(source: str, market: Mapping[str, str]) -> list[str]:
    """Return curl's signing arguments; AWS="NO" means ENDPOINT/bucket/object, else Amazon's own host."""
    key, secret = market.get("ACCESS_KEY_ID", ""), market.get("SECRET_ACCESS_KEY", "")
    if not key or not secret:
        raise DownloadFailed("S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY are required")
    bucket, _, name = source[len("s3://"):].partition("/")
    if market.get("AWS", "").lower() == "no":
        url = f"{market.get('ENDPOINT', '').rstrip('/')}/{bucket}/{name}"
    else:
        url = f"https://{bucket}.s3.amazonaws.com/{name}"
    signing = f"aws:amz:{market.get('REGION', '')}:s3"
    unsigned = "x-amz-content-sha256: UNSIGNED-PAYLOAD"  # S3 wants it signed; curl before 8 does not add it
    return ["--aws-sigv4", signing, "--user", f"{key}:{secret}", "-H", unsigned, "--", url]


def _peek(argv: list[str]) -> bytes:
    """Return the head of the source and break the transfer off; empty when there is none to be had."""
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        raise DownloadFailed(f"{argv[0]}: {error.strerror}") from error
    with process:
        assert process.stdout
        first_bytes = process.stdout.read(_HEAD_BYTES)
        process.stdout.close()
        process.terminate()
    return first_bytes


@contextmanager
def _opened(argv: list[str]) -> Iterator[IO[bytes]]:
    """Stream a command's output; leaving the block fails unless the command did all of its work."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout
        try:
            yield process.stdout
            process.stdout.close()
            if process.wait() != 0:
                errors.seek(0)
                reason = errors.read().decode("utf-8", "replace").strip()
                raise DownloadFailed(f"{reason}\nError copying")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


class _Hashed:
    """A stream that feeds a digest with what is read from it."""

    def __init__(self, stream: IO[bytes], digest: Any) -> None:
        self._stream, self._digest = stream, digest

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._digest.update(block)
        return block


def _decompressed(stream: Any, kind: Optional[str]) -> Any:
    if kind == "gz":
        return gzip.GzipFile(fileobj=stream, mode="rb")
    if kind == "bz2":
        return bz2.BZ2File(stream)
    return lzma.LZMAFile(stream) if kind == "xz" else stream


def _blocks(stream: Any) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block


def _write(stream: Any, destination: Path) -> None:
    """Write, leaving holes for zeros (fs/cp digs them afterwards)."""
    with open(destination, "wb") as out:
        for block in _blocks(stream):
            if block.count(0) == len(block):
                out.seek(len(block), 1)
            else:
                out.write(block)
        out.truncate()
