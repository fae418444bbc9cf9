# SPDX-License-Identifier: Apache-2.0
"""A repository in an S3 bucket: conditional puts, multipart for packs, ranged reads, retries with back-off (boto3)."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

from onebackup_driver.repository import problems
from onebackup_driver.repository.extent import Buffer
from onebackup_driver.repository.stores import base, s3_client
from onebackup_driver.s3_access import Access
from onebackup_driver.units import MIB

#: Each of them needs two to three cells of memory while it restores.
_PARALLEL = 6
#: S3 wants at least 5 MiB a part and takes 10,000 of them.
_PART_BYTES = 5 * MIB
_PARTS_AT_ONCE = 3


class S3Store(base.Store):
    """Objects below `prefix` of a bucket that exists. `cache` keeps copies of indexes between runs."""

    def __init__(
        self, access: Access, bucket: str, prefix: str, quota_mb: Optional[int] = None, cache: Optional[Path] = None
    ):
        self.place = f"s3://{bucket}/{prefix}".rstrip("/")
        self.parallel = _PARALLEL
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self.quota_mb, self._cache = quota_mb, cache or _default_cache()
        self._client = s3_client.connect(access, _PARALLEL + 2 * _PARTS_AT_ONCE)
        self._uploads = ThreadPoolExecutor(_PARTS_AT_ONCE, "upload")
        self._temporary: Optional[Path] = None

    def put(self, name: str, data: bytes) -> bool:
        base.check_name(name)
        try:
            s3_client.again(self.place, name, lambda: self._put(name, data))
            return True
        except s3_client.Exists:
            return self._is_ours(name, data)

    def _put(self, name: str, data: bytes) -> None:
        with s3_client.translated(self.place, name):
            self._client.put_object(IfNoneMatch="*", Body=data, **self._at(name))

    def _is_ours(self, name: str, data: bytes) -> bool:
        """A retried put may find what its own lost first attempt has stored. Random ids tell our objects apart."""
        return len(data) > 64 and self.get(name) == data

    def create(self, name: str) -> base.Writer:
        base.check_name(name)
        return _Writer(self, name)

    def get(self, name: str, offset: int = 0, length: Optional[int] = None) -> bytes:
        base.check_name(name)
        if length == 0:
            return b""
        wanted: dict[str, Any] = {}
        if offset or length is not None:
            wanted = {"Range": f"bytes={offset}-{'' if length is None else offset + length - 1}"}
        return s3_client.again(self.place, name, lambda: self._get(name, wanted))

    def _get(self, name: str, wanted: dict[str, Any]) -> bytes:
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        with s3_client.translated(self.place, name):
            try:
                answer = self._client.get_object(**self._at(name), **wanted)
            except self._client.exceptions.ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("InvalidRange", "416"):
                    return b""
                raise
            try:
                data = bytes(answer["Body"].read())
            except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError, OSError) as error:
                raise s3_client.BrokeOff(str(error)) from error
            if len(data) != answer["ContentLength"]:
                raise s3_client.BrokeOff(f"{len(data)} of {answer['ContentLength']} bytes came")
            return data

    def size(self, name: str) -> int:
        base.check_name(name)
        with s3_client.translated(self.place, name):
            return int(self._client.head_object(**self._at(name))["ContentLength"])

    def delete(self, name: str) -> None:
        base.check_name(name)
        try:
            with s3_client.translated(self.place, name):
                self._client.delete_object(**self._at(name))
        except problems.Missing:
            pass

    def list(self, prefix: str) -> Iterator[base.Entry]:
        with s3_client.translated(self.place, prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix, PaginationConfig={"PageSize": s3_client.PAGE}
            )
            for page in pages:
                if page.get("IsTruncated") and not page.get("NextContinuationToken"):
                    raise problems.StoreFailed(f"{self.place}: {prefix}: the server broke its listing off")
                for found in page.get("Contents") or ():
                    name = found["Key"][len(self._prefix) :]
                    yield base.Entry(name, found["Size"], found["LastModified"].timestamp())

    def free_mb(self) -> Optional[int]:
        return None

    def local_copy(self, name: str, repository_id: bytes, fresh: bool = False) -> Path:
        for folder in (self._cache / repository_id.hex(), self._own_folder()):
            path = folder / name.replace("/", "_")
            if path.is_file() and not fresh:
                return path
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                return self._download(name, path)
            except OSError:
                continue  # the cache cannot be written: a copy for this process then
        raise problems.StoreFailed(f"no room for a copy of {name}")

    def keep_copies(self, names: Collection[str], repository_id: bytes) -> None:
        kept = {name.replace("/", "_") for name in names}
        try:
            for path in (self._cache / repository_id.hex()).iterdir():
                if path.name not in kept and not path.name.startswith("."):
                    path.unlink()
        except OSError:
            pass  # another process does the same, or there is no cache

    def _own_folder(self) -> Path:
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="onebackup-index-"))
        return self._temporary

    def _download(self, name: str, path: Path) -> Path:
        total, done = self.size(name), 0
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with open(temporary, "wb") as stream:
                while done < total:
                    data = base.exactly(self, name, done, min(_PART_BYTES, total - done))
                    done += stream.write(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def remove_stale(self, before: float) -> int:
        removed = 0
        with s3_client.translated(self.place, "the uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
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
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
            return 1
        except problems.Missing:
            return 0  # another gc was quicker

    def close(self) -> None:
        self._uploads.shutdown()
        self._client.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}


class _Writer(base.Writer):
    """Parts go up in the background, three at once for the whole store; a small object is one put."""

    def __init__(self, store: S3Store, name: str):
        self._store, self._name = store, name
        self._buffer = bytearray()
        self._upload: Optional[str] = None
        self._parts: list[Future[str]] = []
        self._size_bytes = 0

    def write(self, data: Buffer) -> None:
        view = memoryview(data)
        self._size_bytes += len(view)
        while view:
            room = _PART_BYTES - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]
            if len(self._buffer) == _PART_BYTES:
                self._send()

    def _send(self) -> None:
        if self._upload is None:
            with s3_client.translated(self._store.place, self._name):
                self._upload = self._store._client.create_multipart_upload(**self._at())["UploadId"]
        waiting = [part for part in self._parts if not part.done()]
        if len(waiting) > 1:
            waiting[0].result()
        number, data, self._buffer = len(self._parts) + 1, self._buffer, bytearray()
        self._parts.append(self._store._uploads.submit(self._send_part, number, data))

    def _send_part(self, number: int, data: bytearray) -> str:
        with s3_client.translated(self._store.place, self._name):
            answer = self._store._client.upload_part(
                UploadId=self._upload, PartNumber=number, Body=data, **self._at()
            )
            return str(answer["ETag"])

    def publish(self) -> bool:
        if self._upload is None:
            data, self._buffer = bytes(self._buffer), bytearray()
            return self._store.put(self._name, data)
        if self._buffer:
            self._send()
        parts = [{"PartNumber": number, "ETag": part.result()} for number, part in enumerate(self._parts, 1)]
        # CompleteMultipartUpload knows no condition on every server (Ceph 16): names of large objects are random.
        if self._is_there():
            return False
        self._complete(parts)
        self._upload = None
        return True

    def _complete(self, parts: list[dict[str, Any]]) -> None:
        """A lost answer is asked for again, but the upload may be gone then because it is complete."""
        try:
            with s3_client.translated(self._store.place, self._name):
                self._store._client.complete_multipart_upload(
                    UploadId=self._upload, MultipartUpload={"Parts": parts}, **self._at()
                )
        except problems.RepositoryError:
            if not self._is_there() or self._store.size(self._name) != self._size_bytes:
                raise

    def _is_there(self) -> bool:
        try:
            self._store.size(self._name)
            return True
        except problems.Missing:
            return False

    def abandon(self) -> None:
        upload, self._upload = self._upload, None
        self._buffer = bytearray()
        if upload is None:
            return
        for part in self._parts:
            part.cancel()
        for part in self._parts:
            if not part.cancelled():
                part.exception()  # waits: a part that arrives after the abort would stay
        try:
            with s3_client.translated(self._store.place, self._name):
                self._store._client.abort_multipart_upload(UploadId=upload, **self._at())
        except problems.RepositoryError:
            pass  # gc removes it later

    def _at(self) -> dict[str, str]:
        return self._store._at(self._name)


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onebackup"
