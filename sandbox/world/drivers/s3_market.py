# SPDX-License-Identifier: Apache-2.0
"""The s3 marketplace: one object per app, `s3://BUCKET/APP_PREFIX-ID`, uploaded in parts of 32 MiB.

Attributes as in OpenNebula's template of such a market: ACCESS_KEY_ID, SECRET_ACCESS_KEY, BUCKET, REGION,
ENDPOINT, FORCE_PATH_STYLE, SIGNATURE_VERSION, APP_PREFIX, TOTAL_MB, READ_LENGTH (MiB a part; S3 takes
10,000 parts, so 32 MiB ends at 312 GiB). Stock never sees READ_LENGTH, because of a misspelt name.
"""
from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from sandbox.world.drivers.request import Refused, Request, serve

_PART_MIB = 32
_TOTAL_MB = 1048576
_SIGNATURES = {"v2": "s3", "s3": "s3", "v4": "s3v4"}


class Bucket:
    """The market's bucket, made where it does not exist yet."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.name = request.market("BUCKET")

    @cached_property
    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        request = self._request
        path_style = request.market("FORCE_PATH_STYLE").lower() == "yes"
        signature = _SIGNATURES.get(request.market("SIGNATURE_VERSION").lower(), "s3v4")
        client = boto3.client(
            "s3",
            region_name=request.market("REGION") or None,
            aws_access_key_id=request.market("ACCESS_KEY_ID"),
            aws_secret_access_key=request.market("SECRET_ACCESS_KEY"),
            endpoint_url=request.market("ENDPOINT") or None,
            config=Config(
                signature_version=signature,
                s3={"addressing_style": "path" if path_style else "auto"},
                retries={"max_attempts": 2},
            ),
        )
        # botocore never ends where a server is lost within `100 Continue`.
        client.meta.events.register_last("before-call.s3", _without_expectation)
        if not _exists(client.head_bucket, Bucket=self.name):
            client.create_bucket(Bucket=self.name)
        return client

    def upload(self, key: str, stream: IO[bytes], part_bytes: int) -> None:
        body = stream.read(part_bytes)
        if len(body) < part_bytes:
            self.client.put_object(Bucket=self.name, Key=key, Body=body)
            return
        target = {"Bucket": self.name, "Key": key}
        upload = self.client.create_multipart_upload(**target)["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            while body:
                number = len(parts) + 1
                part = self.client.upload_part(**target, UploadId=upload, PartNumber=number, Body=body)
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
                body = stream.read(part_bytes)
            self.client.complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            self.client.abort_multipart_upload(**target, UploadId=upload)
            raise


def import_app(request: Request) -> Mapping[str, object]:
    """Upload the image file as it is."""
    bucket = Bucket(request)
    key = f"{request.market('APP_PREFIX', 'marketapp')}-{request.text('MARKETPLACEAPP/ID')}"
    if _exists(bucket.client.head_object, Bucket=bucket.name, Key=key):
        raise Refused(f"Object '{key}' already exists.")
    source = request.text("IMPORT_SOURCE")
    try:
        with open(source, "rb") as stream:
            bucket.upload(key, stream, 2**20 * int(request.market("READ_LENGTH") or _PART_MIB))
    except OSError as error:
        raise Refused(f"Cannot read from {source}") from error
    request.dispose()
    return request.imported(f"s3://{bucket.name}/{key}")


def delete_app(request: Request) -> Mapping[str, object]:
    """Delete the object; one that is not there is an error, as stock has it."""
    key = Path(request.text("MARKETPLACEAPP/SOURCE")).name
    if not key:
        raise Refused("Empty SOURCE.")
    bucket = Bucket(request)
    if not _exists(bucket.client.head_object, Bucket=bucket.name, Key=key):
        raise Refused(f"Object '{key}' does not exist.")
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    return {}


def monitor(request: Request) -> Mapping[str, object]:
    """Add up the first page of objects (1000, as stock does) against TOTAL_MB, by default 1 TiB."""
    bucket = Bucket(request)
    listed = bucket.client.list_objects(Bucket=bucket.name).get("Contents", [])
    used = -(-sum(item["Size"] for item in listed) // 2**20)
    total = int(request.market("TOTAL_MB") or _TOTAL_MB)
    return {"USED_MB": used, "FREE_MB": total - used, "TOTAL_MB": total}


def _without_expectation(params: dict[str, Any], **_: object) -> None:
    params["headers"].pop("Expect", None)


def _exists(head: Any, **target: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        head(**target)
        return True
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise


def main() -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        serve({"import": import_app, "delete": delete_app, "monitor": monitor})
    except (BotoCoreError, ClientError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
