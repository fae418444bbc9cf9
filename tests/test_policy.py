# SPDX-License-Identifier: Apache-2.0
"""What a BACKUP section means; every bad value is one clear line that names the VM, the key and the value."""

from __future__ import annotations

import re

import pytest

from onebackup_driver import app, errors, policy
from onebackup_driver.site_rules import Configuration
from tests import objects

SITE = Configuration()
GOOD = {"FREQUENCY_SECONDS": "86400", "MARKETPLACE_ID": "108"}


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_the_recorded_section(version: str) -> None:
    section = objects.machine(version, "vm-poweroff").backup
    found = policy.read(8, section, SITE)
    assert (found.frequency_s, found.last_backup_time) == (3600, 1614013088)
    assert found.marketplace_id == {"6.4": 108, "7.4": 104}[version]
    assert (found.modes, found.excluded_disks) == (("POWEROFF",), frozenset())


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"FREQUENCY_SECONDS": ""}, ["VM 42", "FREQUENCY_SECONDS"]),
        ({"FREQUENCY_SECONDS": "  "}, ["VM 42", "FREQUENCY_SECONDS"]),
        ({"FREQUENCY_SECONDS": "daily"}, ["VM 42", "FREQUENCY_SECONDS", "'daily'"]),
        ({"FREQUENCY_SECONDS": "0"}, ["VM 42", "FREQUENCY_SECONDS", "0"]),
        ({"FREQUENCY_SECONDS": "-60"}, ["VM 42", "FREQUENCY_SECONDS", "'-60'"]),
        ({"FREQUENCY_SECONDS": "1e3"}, ["VM 42", "FREQUENCY_SECONDS", "'1e3'"]),
        ({"FREQUENCY_SECONDS": "86400.5"}, ["VM 42", "FREQUENCY_SECONDS", "'86400.5'"]),
        ({"FREQUENCY_SECONDS": "९"}, ["VM 42", "FREQUENCY_SECONDS", "'९'"]),
        ({"FREQUENCY_SECONDS": "9" * 18}, ["VM 42", "FREQUENCY_SECONDS", "'999"]),
        ({"MARKETPLACE_ID": ""}, ["VM 42", "MARKETPLACE_ID"]),
        ({"MARKETPLACE_ID": "backups"}, ["VM 42", "MARKETPLACE_ID", "'backups'"]),
        ({"MARKETPLACE_ID": "-1"}, ["VM 42", "MARKETPLACE_ID", "'-1'"]),
        ({"MARKETPLACE_ID": "1\n2"}, ["VM 42", "MARKETPLACE_ID", "'1\\n2'"]),
        ({"MARKETPLACE_ID": "4294967296"}, ["VM 42", "MARKETPLACE_ID", "'4294967296'"]),
        ({"MARKETPLACE_ID": "7" * 5000}, ["VM 42", "MARKETPLACE_ID", "'777"]),
        ({"MODE": "SNAPSHOT"}, ["VM 42", "MODE", "'SNAPSHOT'"]),
        ({"MODE": "LIVE;POWEROFF"}, ["VM 42", "MODE", "'LIVE;POWEROFF'"]),
        ({"MODE": "LIVE,"}, ["VM 42", "MODE", "''"]),
        ({"MODE": "LIVE\nPOWEROFF"}, ["VM 42", "MODE", "'LIVE\\nPOWEROFF'"]),
        ({"EXCLUDE_DISKS": "2;3"}, ["VM 42", "EXCLUDE_DISKS", "'2;3'"]),
        ({"EXCLUDE_DISKS": "1,,2"}, ["VM 42", "EXCLUDE_DISKS", "'1,,2'"]),
        ({"EXCLUDE_DISKS": "vda"}, ["VM 42", "EXCLUDE_DISKS", "'vda'"]),
    ],
)
def test_a_bad_value_is_one_clear_line(changes: dict[str, str], words: list[str]) -> None:
    with pytest.raises(errors.Refused) as caught:
        policy.read(42, {**GOOD, **changes}, SITE)
    line = str(caught.value)
    assert len(line.splitlines()) == 1 and len(line) < 250
    assert [word for word in words if word not in line] == [], line


def test_no_section_says_what_to_type() -> None:
    with pytest.raises(errors.Refused, match="VM 42 has no BACKUP section.*onevm update 42"):
        policy.read(42, None, SITE)


def test_a_backup_that_is_no_section_is_refused() -> None:
    """BACKUP="yes" is read as a section with nothing in it."""
    with pytest.raises(errors.Refused, match="BACKUP of VM 42 has no FREQUENCY_SECONDS"):
        policy.read(42, {}, SITE)


def test_a_bad_mode_says_where_it_comes_from() -> None:
    for section, argument, place in (
        ({**GOOD, "MODE": "X"}, "", "BACKUP/MODE"),
        ({**GOOD, "MODE": "X"}, "Y", "--mode"),
        (GOOD, "Y", "--mode"),
    ):
        with pytest.raises(errors.Refused, match=re.escape(place)):
            policy.read(42, section, SITE, modes=argument)


def test_spaces_and_small_letters_are_forgiven() -> None:
    section = {
        "FREQUENCY_SECONDS": " 600 ",
        "MARKETPLACE_ID": " 3",
        "MODE": " live , Poweroff",
        "EXCLUDE_DISKS": "2, 3",
    }
    found = policy.read(42, section, SITE)
    assert (found.frequency_s, found.marketplace_id) == (600, 3)
    assert (found.modes, found.excluded_disks) == (("LIVE", "POWEROFF"), frozenset({2, 3}))


def test_the_site_sets_the_least_frequency_and_the_usual_mode() -> None:
    site = Configuration(minimum_frequency_seconds=7200, mode="LIVE,SUSPEND")
    found = policy.read(42, {**GOOD, "FREQUENCY_SECONDS": "1"}, site)
    assert (found.frequency_s, found.modes) == (7200, ("LIVE", "SUSPEND"))


def test_the_command_line_wins() -> None:
    found = policy.read(42, {**GOOD, "MODE": "POWEROFF"}, SITE, marketplace_id=7, modes="SUSPEND")
    assert (found.marketplace_id, found.modes) == (7, ("SUSPEND",))


def test_a_oneshot_needs_no_section_and_takes_no_frequency() -> None:
    """B8: the VM's own BACKUP neither hides --market nor makes a oneshot wait."""
    for section in (None, {**GOOD, "FREQUENCY_SECONDS": "rubbish", "LAST_BACKUP_TIME": "999"}):
        found = policy.read(42, section, SITE, marketplace_id=7, oneshot=True)
        assert (found.marketplace_id, found.frequency_s) == (7, 0)
        assert policy.due(found, 1000).due


@pytest.mark.parametrize("value, meant", [("", 0), ("never", 0), ("-5", 0), ("1614013088", 1614013088)])
def test_a_damaged_last_backup_time_means_never(value: str, meant: int) -> None:
    assert policy.read(42, {**GOOD, "LAST_BACKUP_TIME": value}, SITE).last_backup_time == meant


@pytest.mark.parametrize(
    "last, now, due, at, words",
    [
        (0, 5000, True, 5000, "never"),
        (1000, 1999, False, 2000, "younger"),
        (1000, 2000, True, 2000, "1000 s old"),
        (1000, 9999, True, 2000, "8999 s old"),
        (6000, 5000, True, 5000, "future"),
    ],
)
def test_due(last: int, now: int, due: bool, at: int, words: str) -> None:
    found = policy.due(policy.Policy(1000, 1, last, ("POWEROFF",), frozenset()), now)
    assert (found.due, found.at) == (due, at) and words in found.reason


def marketplace(version: str = "7.4", **changes: str) -> app.Marketplace:
    return app.parse_marketplace(objects.changed(objects.load(version, "market-http"), **changes))


@pytest.mark.parametrize("version", objects.VERSIONS)
def test_an_http_marketplace_may_be_used(version: str) -> None:
    policy.check_marketplace(marketplace(version), SITE)
    policy.check_marketplace(
        marketplace(version), Configuration(allowed_marketplaces=[marketplace(version).marketplace_id])
    )


def test_a_marketplace_is_refused_with_the_reason() -> None:
    for market, site, words in (
        (marketplace(STATE="1"), SITE, "is disabled; enable it with: onemarket enable 104"),
        (marketplace(MARKET_MAD="one"), SITE, "is of the type 'one'; backups go into http, s3, onebackup"),
        (marketplace(), Configuration(allowed_marketplaces=[1, 2]), "is not in allowed_marketplaces"),
    ):
        with pytest.raises(errors.Refused, match=words) as caught:
            policy.check_marketplace(market, site)
        assert "marketplace 104 (http-" in str(caught.value)


def test_a_recorded_marketplace_of_an_unknown_driver_is_refused() -> None:
    with pytest.raises(errors.Refused, match="marketplace 105 .* is of the type 'probe'"):
        policy.check_marketplace(app.parse_marketplace(objects.load("7.4", "market-probe")), SITE)
