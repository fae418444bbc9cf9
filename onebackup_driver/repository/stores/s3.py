# SPDX-License-Identifier: Apache-2.0
"""A repository in an S3 bucket: conditional puts, multipart for packs, ranged reads, retries with back-off (boto3)."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Optional, TypeVar

from onebackup_driver import clock, scratch
from onebackup_driver.repository import problems
from onebackup_driver.repository.stores import base, s3_client, s3_upload
from onebackup_driver.s3_access import Access

#: Requests of a restore at once: enough to make up for 50 ms that each takes; each has memory for one frame.
_PARALLEL = 10
_PARTS_AT_ONCE = 5
#: What is taken from a connection at once.
_PIECE_BYTES = 256 * 1024
#: A copy that was not complete so long after is one of a process that was killed.
_DOWNLOAD_S = 24 * 3600
_Taken = TypeVar("_Taken")


class S3Store(base.Store):
    """Objects below `prefix` of a bucket that exists. `cache` keeps copies of indexes between runs."""

    def __init__(
        self, access: Access, bucket: str, prefix: str, quota_mb: Optional[int] = None, cache: Optional[Path] = None
    ):
        self.place = f"s3://{bucket}/{prefix}".rstrip("/")
        self.parallel = _PARALLEL
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self.quota_mb, self._cache = quota_mb, cache or _default_cache()
        self.client = s3_client.connect(access, _PARALLEL + 2 * _PARTS_AT_ONCE)
        self.uploads = ThreadPoolExecutor(_PARTS_AT_ONCE, "upload")
        self.asking = ThreadPoolExecutor(_PARTS_AT_ONCE, "asking")  # which parts must not wait for
        self.room = threading.BoundedSemaphore(_PARTS_AT_ONCE)  # parts in memory, of all writers
        self._temporary: Optional[scratch.Folder] = None

    def put(self, name: str, data: bytes) -> bool:
        base.check_name(name)
        try:
            s3_client.again(self.place, name, lambda: self._put(name, data))
            return True
        except s3_client.Exists:
            return self._is_ours(name, data)

    def _put(self, name: str, data: bytes) -> None:
        with s3_client.translated(self.place, name):
            self.client.put_object(IfNoneMatch="*", Body=data, **self.at(name))

    def _is_ours(self, name: str, data: bytes) -> bool:
        """A retried put may find what its own lost first attempt has stored. Random ids tell our objects apart."""
        return len(data) > 64 and self.get(name) == data

    def create(self, name: str) -> base.Writer:
        base.check_name(name)
        return s3_upload.Writer(self, name)

    def get(self, name: str, offset: int = 0, length: Optional[int] = None) -> bytes:
        base.check_name(name)
        if length == 0:
            return b""
        wanted: dict[str, Any] = {}
        if offset or length is not None:
            wanted = {"Range": f"bytes={offset}-{'' if length is None else offset + length - 1}"}
        return s3_client.again(self.place, name, lambda: self._take(name, wanted, _whole, b""))

    def read_into(self, name: str, offset: int, view: memoryview) -> int:
        base.check_name(name)
        if not view:
            return 0
        wanted = {"Range": f"bytes={offset}-{offset + len(view) - 1}"}
        return s3_client.again(
            self.place, name, lambda: self._take(name, wanted, lambda body, length: _filled(body, length, view), 0)
        )

    def _take(
        self, name: str, wanted: dict[str, Any], take: Callable[[Any, int], _Taken], beyond_the_end: _Taken
    ) -> _Taken:
        """What `take` makes of an answer's body and length. Raises BrokeOff when it did not come to its end."""
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        with s3_client.translated(self.place, name):
            try:
                answer = self.client.get_object(**self.at(name), **wanted)
            except self.client.exceptions.ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("InvalidRange", "416"):
                    return beyond_the_end
                raise
            try:
                return take(answer["Body"], int(answer["ContentLength"]))
            except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, OSError) as error:
                raise s3_client.BrokeOff(str(error)) from error

    def size(self, name: str) -> int:
        base.check_name(name)
        with s3_client.translated(self.place, name):
            return int(self.client.head_object(**self.at(name))["ContentLength"])

    def delete(self, name: str) -> None:
        base.check_name(name)
        try:
            with s3_client.translated(self.place, name):
                self.client.delete_object(**self.at(name))
        except problems.Missing:
            pass

    def list(self, prefix: str) -> Iterator[base.Entry]:
        with s3_client.translated(self.place, prefix):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix, PaginationConfig={"PageSize": s3_client.PAGE}
            )
            for page in pages:
                if page.get("IsTruncated") and not page.get("NextContinuationToken"):
                    raise problems.StoreFailed(f"{self.place}: {prefix}: the server broke its listing off")
                for found in page.get("Contents") or ():
                    name = found["Key"][len(self._prefix) :]
                    yield base.Entry(name, found["Size"], found["LastModified"].timestamp())

    def time(self) -> float:
        """As the header of an answer says."""
        with s3_client.translated(self.place, "its time"):
            answer = self.client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        said = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return parsedate_to_datetime(said).timestamp()
        except (TypeError, ValueError):
            raise problems.StoreFailed(f"{self.place}: the server does not say what time it is: {said!r}") from None

    def free_mb(self) -> Optional[int]:
        return None

    def local_copy(self, name: str, repository_id: bytes, fresh: bool = False) -> Path:
        for is_kept in (True, False):
            try:
                folder = self._cache / repository_id.hex() if is_kept else self._own_folder()
                path = folder / name.replace("/", "_")
                if path.is_file() and not fresh:
                    return path
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                return self._download(name, path)
            except OSError:
                continue  # the cache cannot be written: a copy for this process then
        raise problems.StoreFailed(f"no room for a copy of {name}")

    def keep_copies(self, names: Collection[str], repository_id: bytes) -> None:
        kept = {name.replace("/", "_") for name in names}
        try:
            for path in (self._cache / repository_id.hex()).iterdir():
                half_made = path.name.startswith(".")
                if path.name not in kept and not (half_made and clock.now() - path.stat().st_mtime < _DOWNLOAD_S):
                    path.unlink()
        except OSError:
            pass  # another process does the same, or there is no cache

    def _own_folder(self) -> Path:
        if self._temporary is None:
            self._temporary = scratch.Folder("onebackup-index-")
        return self._temporary.path

    def _download(self, name: str, path: Path) -> Path:
        total, done = self.size(name), 0
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with open(temporary, "wb") as stream:
                while done < total:
                    data = base.exactly(self, name, done, min(s3_upload.PART_BYTES, total - done))
                    done += stream.write(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def remove_stale(self, before: float) -> int:
        removed = 0
        with s3_client.translated(self.place, "the uploads"):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for upload in page.get("Uploads") or ():
                    if upload["Initiated"].timestamp() < before:
                        removed += self._abort(upload["Key"], upload["UploadId"])
        return removed

    def _abort(self, key: str, upload_id: str) -> int:
        try:
            with s3_client.translated(self.place, key):
                self.client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
            return 1
        except problems.Missing:
            return 0  # another gc was quicker

    def close(self) -> None:
        self.uploads.shutdown()
        self.asking.shutdown()
        self.client.close()
        if self._temporary is not None:
            self._temporary.close()

    def at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}


def _whole(body: Any, length: int) -> bytes:
    data = bytes(body.read())
    if len(data) != length:
        raise s3_client.BrokeOff(f"{len(data)} of {length} bytes came")
    return data


def _filled(body: Any, length: int, view: memoryview) -> int:
    """Piece by piece, as the whole answer would be in memory twice."""
    if length > len(view):
        raise s3_client.BrokeOff(f"{length} bytes came instead of {len(view)}")
    done = 0
    while done < length and (piece := body.read(min(_PIECE_BYTES, length - done))):
        view[done : done + len(piece)] = piece
        done += len(piece)
    if done != length:
        raise s3_client.BrokeOff(f"{done} of {length} bytes came")
    return done


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onebackup"
