# SPDX-License-Identifier: Apache-2.0
"""Stock `s3` marketplaces as targets and sources, on a real S3 server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from sandbox import servers
from sandbox.servers import S3Server
from tests.e2e import machines
from tests.e2e.machines import TWO_DISKS, Disk
from tests.e2e.site import Site, unique, wait

READY_IMAGES = (Disk(3, "raw", random=True), Disk(2, "qcow2", persistent=True, random=True))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with servers.s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(store: S3Server) -> str:
    name = unique("backups")
    _client(store).create_bucket(Bucket=name)
    return name


def _client(store: S3Server) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
    )


def _market(site: Site, store: S3Server, bucket: str, **attributes: str) -> int:
    values = {
        "NAME": unique("s3"), "MARKET_MAD": "s3", "BUCKET": bucket, "REGION": "default",
        "ACCESS_KEY_ID": store.access_key, "SECRET_ACCESS_KEY": store.secret_key,
        "ENDPOINT": store.endpoint, "FORCE_PATH_STYLE": "YES", "AWS": "NO",
        **attributes,
    }  # fmt: skip
    return int(site.call("one.market.allocate", "\n".join(f'{key}="{value}"' for key, value in values.items())))


def _keys(store: S3Server, bucket: str) -> list[str]:
    return [item["Key"] for item in _client(store).list_objects_v2(Bucket=bucket).get("Contents", [])]


def _section(market: int) -> str:
    return f'FREQUENCY_SECONDS="86400", MARKETPLACE_ID="{market}"'


@pytest.mark.both_versions
def test_a_vm_goes_into_s3_and_comes_back(site: Site, store: S3Server, bucket: str) -> None:
    vm_id = machines.machine(site, READY_IMAGES, backup=_section(_market(site, store, bucket)))
    before = machines.contents(machines.vm_disks(site, vm_id))

    done = site.onebackup("backup", vm_id, "-v")

    assert (done.code, done.err) == (0, ""), done
    assert len(_keys(store, bucket)) == 2
    machines.bring_to(site, vm_id, machines.DONE)
    back = site.onebackup("restore", vm_id, "-d", "default", "--no-start")
    assert (back.code, back.err) == (0, ""), back
    restored = int(re.findall(r"^ID: (\d+)$", back.out, re.MULTILINE)[0])
    site.call("one.vm.action", "release", restored)
    machines.await_state(site, restored, machines.RUNNING)
    assert machines.contents(machines.vm_disks(site, restored)) == before


def test_the_next_backup_replaces_the_objects(site: Site, store: S3Server, bucket: str) -> None:
    vm_id = machines.machine(site, TWO_DISKS, backup=_section(_market(site, store, bucket)))
    assert site.onebackup("backup", vm_id).code == 0
    first = _keys(store, bucket)

    assert site.onebackup("backup", vm_id, "--force").code == 0

    wait("the driver to delete the old objects", lambda: not set(first) & set(_keys(store, bucket)))
    assert len(_keys(store, bucket)) == 2


def test_an_object_that_is_not_what_was_saved_fails_the_backup(site: Site, store: S3Server, bucket: str) -> None:
    market = _market(site, store, bucket)
    vm_id = machines.machine(site, backup=_section(market))
    assert site.onebackup("backup", vm_id).code == 0
    app = site.info("marketapp", site.recorded(vm_id)[0])
    _client(store).put_object(Bucket=bucket, Key=app.findtext("SOURCE", "").rsplit("/", 1)[1], Body=b"short")
    before = site.everything()

    back = site.onebackup("restore", vm_id, "-d", "default")

    assert back.code == 1
    assert "MD5" in back.error_line or "MB" in back.error_line or "bytes" in back.error_line, back.err
    assert site.everything() == before


def test_wrong_keys_fail_and_lose_nothing(site: Site, store: S3Server, bucket: str) -> None:
    vm_id = machines.machine(site, backup=_section(_market(site, store, bucket)))
    assert site.onebackup("backup", vm_id).code == 0
    kept = _keys(store, bucket)
    wrong = _market(site, store, bucket, SECRET_ACCESS_KEY="wrong-secret")

    done = site.onebackup("backup", vm_id, "--force", "--market", wrong)

    assert done.code == 1, done
    assert "wrong-secret" not in done.out + done.err
    assert site.vm_state(vm_id) == machines.RUNNING
    assert _keys(store, bucket) == kept


def test_no_readable_keys_are_refused_before_the_vm_is_touched(site: Site, store: S3Server, bucket: str) -> None:
    market = _market(site, store, bucket)
    site.call("one.market.update", market, 'SECRET_ACCESS_KEY=""', 1)
    vm_id = machines.machine(site, backup=_section(market))

    done = site.onebackup("backup", vm_id)

    assert done.code == 3
    assert "s3_credentials_file" in done.error_line
    assert site.apps() == []


def test_the_sites_credentials_are_used(site: Site, store: S3Server, bucket: str) -> None:
    market = _market(site, store, bucket)
    credentials = site.folder / "credentials"
    credentials.write_text(f"[{market}]\naws_access_key_id = {store.access_key}\naws_secret_access_key = not-it\n")
    site.configure(s3_credentials_file=str(credentials))
    vm_id = machines.machine(site, backup=_section(market))

    done = site.onebackup("backup", vm_id)

    assert done.code == 1, "the site's wrong key should have been used for the check"
    assert "cannot fetch what the marketplace stored" in done.err
    credentials.write_text(credentials.read_text().replace("not-it", store.secret_key))
    assert site.onebackup("backup", vm_id).code == 0
