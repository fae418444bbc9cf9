# SPDX-License-Identifier: Apache-2.0
"""Writing an object of a bucket in parts."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Optional

from onebackup_driver.repository import problems
from onebackup_driver.repository.extent import Buffer
from onebackup_driver.repository.stores import base, s3_client
from onebackup_driver.units import MIB

if TYPE_CHECKING:
    from onebackup_driver.repository.stores.s3 import S3Store

#: S3 wants at least 5 MiB a part and takes 10,000 of them.
PART_BYTES = 5 * MIB


class Writer(base.Writer):
    """Parts go up in the background, a few at once for the whole store; a small object is one put."""

    def __init__(self, store: S3Store, name: str):
        self._store, self._name = store, name
        self._part, self._filled = bytearray(), 0
        self._upload: Optional[Future[str]] = None
        self._parts: list[Future[str]] = []
        self._size_bytes = 0

    def write(self, data: Buffer) -> None:
        view = memoryview(data)
        self._size_bytes += len(view)
        while view:
            self._part = self._part or bytearray(PART_BYTES)
            count = min(len(view), PART_BYTES - self._filled)
            self._part[self._filled : self._filled + count] = view[:count]
            view, self._filled = view[count:], self._filled + count
            if self._filled == PART_BYTES:
                self._send()

    def _send(self) -> None:
        if self._upload is None:  # begun in the background: its parts are behind it in the queue
            self._upload = self._store.uploads.submit(self._begin)
        self._store.room.acquire()
        number, data = len(self._parts) + 1, self._taken()
        try:
            part = self._store.uploads.submit(self._send_part, self._upload, number, data)
        except BaseException:
            self._store.room.release()
            raise
        part.add_done_callback(lambda _: self._store.room.release())
        self._parts.append(part)

    def _taken(self) -> bytearray:
        part, filled = self._part, self._filled
        self._part, self._filled = bytearray(), 0
        del part[filled:]
        return part

    def _begin(self) -> str:
        with s3_client.translated(self._store.place, self._name):
            return str(self._store.client.create_multipart_upload(**self._at())["UploadId"])

    def _send_part(self, upload: Future[str], number: int, data: bytearray) -> str:
        upload_id = upload.result()
        with s3_client.translated(self._store.place, self._name):
            answer = self._store.client.upload_part(UploadId=upload_id, PartNumber=number, Body=data, **self._at())
            return str(answer["ETag"])

    def publish(self) -> bool:
        if self._upload is None:
            return self._store.put(self._name, bytes(self._taken()))
        # CompleteMultipartUpload knows no condition on every server (Ceph 16): names of large objects are random.
        is_there = self._store.asking.submit(self._is_there)  # while the last parts are on their way
        if self._filled:
            self._send()
        parts = [{"PartNumber": number, "ETag": part.result()} for number, part in enumerate(self._parts, 1)]
        if is_there.result():
            return False
        self._complete(self._upload.result(), parts)
        self._upload = None
        return True

    def _complete(self, upload_id: str, parts: list[dict[str, Any]]) -> None:
        """A lost answer is asked for again, but the upload may be gone then because it is complete."""
        try:
            with s3_client.translated(self._store.place, self._name):
                self._store.client.complete_multipart_upload(
                    UploadId=upload_id, MultipartUpload={"Parts": parts}, **self._at()
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
        self._part, self._filled = bytearray(), 0
        if upload is None:
            return
        for part in self._parts:
            part.cancel()
        for part in self._parts:
            if not part.cancelled():
                part.exception()  # waits: a part that arrives after the abort would stay
        if upload.cancel() or upload.exception() is not None:
            return  # there is nothing to abort, or nobody knows its name: gc removes it later
        try:
            with s3_client.translated(self._store.place, self._name):
                self._store.client.abort_multipart_upload(UploadId=upload.result(), **self._at())
        except problems.RepositoryError:
            pass  # gc removes it later

    def _at(self) -> dict[str, str]:
        return self._store.at(self._name)
