# SPDX-License-Identifier: Apache-2.0
"""What an s3 marketplace's template says, and what its driver cannot take."""

from __future__ import annotations

import pytest

from onebackup_driver import errors, s3_marketplace
from onebackup_driver.app import Marketplace
from onebackup_driver.vm import IMAGE, Disk

KEYS = {"ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "very-secret"}


def _market(**attributes: str) -> Marketplace:
    return Marketplace(7, "vault", "s3", True, attributes)


def _disk(size_mb: int) -> Disk:
    return Disk(3, IMAGE, 1, size_mb, False, {})


def test_a_disk_of_ten_thousand_parts_is_taken() -> None:
    s3_marketplace.check_sizes(_market(), (_disk(320_000),))


def test_a_larger_one_is_refused_in_one_line_that_names_it() -> None:
    with pytest.raises(errors.Refused, match="disk 3 has 320001 MB.*marketplace 7.*320000 MB"):
        s3_marketplace.check_sizes(_market(), (_disk(1), _disk(320_001)))


def test_read_length_does_not_raise_the_limit_because_the_stock_driver_misreads_its_name() -> None:
    with pytest.raises(errors.Refused):
        s3_marketplace.check_sizes(_market(READ_LENGTH="64"), (_disk(320_001),))


def test_secrets_do_not_show_when_printed() -> None:
    market = _market(**KEYS)
    assert "very-secret" not in repr(market) + repr(s3_marketplace.access(market))


def test_the_sites_keys_win() -> None:
    found = s3_marketplace.access(_market(**KEYS), "site-id", "site-secret")
    assert (found.key_id, found.secret) == ("site-id", "site-secret")


@pytest.mark.parametrize("missing", sorted(KEYS))
def test_a_missing_key_is_refused_with_what_to_do(missing: str) -> None:
    with pytest.raises(errors.Refused, match="s3_credentials_file"):
        s3_marketplace.access(_market(**{**KEYS, missing: ""}))


@pytest.mark.parametrize(
    ("source", "place"),
    [("s3://bucket/a/key", ("bucket", "a/key")), ("s3://bucket/", None), ("http://bucket/key", None), ("", None)],
)
def test_sources(source: str, place: object) -> None:
    assert s3_marketplace.bucket_and_key(source) == place
