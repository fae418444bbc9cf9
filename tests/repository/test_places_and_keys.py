# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import stat
from pathlib import Path

import pytest

from onebackup_driver import errors
from onebackup_driver.repository import keys, location, problems, repository

from . import disks
from .conftest import BUCKET


def test_directories(tmp_path: Path) -> None:
    found = location.parse(f"dir:{tmp_path}")
    assert found.path == tmp_path and str(found) == f"dir:{tmp_path}"
    assert found.open_store().place == f"dir:{tmp_path}"


def test_buckets(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = A\naws_secret_access_key = very secret\n")
    found = location.parse(
        "s3://bucket/some//prefix/",
        {"CREDENTIALS_FILE": str(credentials), "ENDPOINT": "http://s3", "QUOTA_MB": "100", "REGION": ""},
    )
    assert (found.bucket, found.prefix, found.quota_mb) == ("bucket", "some/prefix", 100)
    assert found.access is not None and found.access.secret == "very secret" and found.access.path_style
    assert "very secret" not in repr(found) and str(found) == "s3://bucket/some/prefix"


@pytest.mark.parametrize(
    "text, options",
    [
        ("/path", {}), ("dir:relative", {}), ("s3://", {}), ("s3://bucket", {}), ("http://x", {}), ("", {}),
        ("s3://b", {"ACCESS_KEY_ID": "a"}), ("dir:/x", {"BUCKET": "b"}),
        ("s3://b", {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "QUOTA_MB": "many"}),
        ("s3://b", {"CREDENTIALS_FILE": "/nothing"}),
    ],
)  # fmt: skip
def test_wrong_places(text: str, options: dict[str, str]) -> None:
    with pytest.raises(errors.UsageError):
        location.parse(text, options)


def test_a_bucket_that_is_full_by_agreement(s3_options: dict[str, str]) -> None:
    with_quota = {**s3_options, "QUOTA_MB": "50"}
    store = location.parse(f"s3://{BUCKET}/quota", with_quota).open_store()
    made = repository.create(store, disks.SMALL)
    disks.save(made, disks.content(40))
    usage = made.usage()
    assert usage.used_mb >= 1 and usage.free_mb == 50 - usage.used_mb
    store.close()


def test_copies_of_indexes(s3_options: dict[str, str], tmp_path: Path) -> None:
    """A damaged copy is fetched anew, one that is of no use any more goes."""
    store = location.parse(f"s3://{BUCKET}/copies", {**s3_options, "CACHE": str(tmp_path)}).open_store()
    made = repository.create(store, disks.SMALL)
    disks.save(made, disks.content(4))
    assert disks.save(made, disks.content(4)).new_bytes == 0
    for path in tmp_path.rglob("index_*"):
        path.write_bytes(b"half a co")
    disks.save(made, disks.content(2, seed=3))
    assert disks.save(made, disks.content(4)).new_bytes == 0
    for entry in store.list("index/"):
        store.delete(entry.name)
    disks.save(made, disks.content(1, seed=4))
    assert list(tmp_path.rglob("index_*")) == []
    store.close()


def test_a_server_that_is_not_there(s3_options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onebackup_driver.repository.stores.s3_client.ATTEMPTS", 1)
    store = location.parse(f"s3://{BUCKET}/x", {**s3_options, "ENDPOINT": "http://127.0.0.1:9"}).open_store()
    with pytest.raises(problems.StoreFailed):
        repository.open(store)
    wrong = location.parse(f"s3://{BUCKET}/x", {**s3_options, "SECRET_ACCESS_KEY": "wrong"}).open_store()
    with pytest.raises(problems.StoreFailed):
        repository.open(wrong)
    nowhere = location.parse("s3://no-such-bucket/x", s3_options).open_store()
    with pytest.raises(problems.RepositoryError):
        list(nowhere.list("packs/"))


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = keys.create(path)
    assert len(key) == 32 and keys.load(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(problems.AlreadyThere):
        keys.create(path)
    path.chmod(0o640)
    with pytest.raises(errors.UsageError, match="chmod 600"):
        keys.load(path)


def test_keys_on_paper() -> None:
    text = keys.export(disks.KEY)
    assert keys.parse(text) == disks.KEY
    for wrong in (text[:-1], text.replace("0", "1", 1), "", "onebackup-key-1:", text.upper()):
        with pytest.raises(errors.UsageError):
            keys.parse(wrong)
