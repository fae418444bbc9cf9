# SPDX-License-Identifier: Apache-2.0
"""onebackup.yaml: a mistake is one line naming file, line and key; the shipped file says the defaults."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from onebackup_driver import configuration, errors
from onebackup_driver.site_rules import Configuration, Timeouts

SHIPPED = Path(__file__).resolve().parent.parent / "etc" / "onebackup.yaml"


def test_the_shipped_file_holds_every_option_with_its_default() -> None:
    assert configuration.load(SHIPPED) == Configuration()
    shipped = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    assert shipped == dataclasses.asdict(Configuration())


def test_every_option_of_the_shipped_file_is_explained() -> None:
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("  "):
            assert "#" in line, line
        elif line and not line.startswith("#"):
            assert lines[number - 1].startswith("#"), line


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_nothing_means_all_defaults(text: str) -> None:
    assert configuration.parse(text, "x.yaml") == Configuration()


def test_a_missing_file_means_all_defaults(tmp_path: Path) -> None:
    assert configuration.load(tmp_path / "onebackup.yaml") == Configuration()


def test_values_are_taken() -> None:
    text = """
state_directory: /srv/state
allowed_marketplaces: [100, 101]
allowed_marketplace_types:
- s3
minimum_frequency_seconds: 60
mode: LIVE,POWEROFF
verify: length
app_owner: vm_owner
timeouts: {call_s: 1.5, undo_s: 7}
"""
    assert configuration.parse(text, "x.yaml") == Configuration(
        state_directory="/srv/state",
        allowed_marketplaces=[100, 101],
        allowed_marketplace_types=["s3"],
        minimum_frequency_seconds=60,
        mode="LIVE,POWEROFF",
        verify="length",
        app_owner="vm_owner",
        timeouts=Timeouts(call_s=1.5, undo_s=7),
    )


@pytest.mark.parametrize(
    "text, words",
    [
        ("verify: length\nverfy: length\n", ["line 2", "verfy", "is not an option", "verify"]),
        ("timeouts:\n  call: 5\n", ["line 2", "timeouts.call", "is not an option", "call_s"]),
        ("? [a, b]\n: 1\n", ["line 1", "is not an option"]),
        ("1: 2\n", ["line 1", "1", "is not an option"]),
        ("\nverify: full\n", ["line 2", "verify", "length, checksum", "'full'"]),
        ("app_owner: root\n", ["line 1", "app_owner", "oneadmin, vm_owner", "'root'"]),
        ("mode: SNAPSHOT\n", ["line 1", "mode", "POWEROFF, SUSPEND, LIVE", "'SNAPSHOT'"]),
        ("mode:\n", ["line 1", "mode", "None"]),
        ("mode: 5\n", ["line 1", "mode", "5"]),
        ("mode: [LIVE, POWEROFF]\n", ["line 1", "mode", "POWEROFF, SUSPEND, LIVE"]),
        ("state_directory: 5\n", ["line 1", "state_directory", "must be text", "5"]),
        ("state_directory: var/state\n", ["line 1", "state_directory", "'var/state'"]),
        ("allowed_marketplaces: 100\n", ["line 1", "allowed_marketplaces", "must be a list of ids", "100"]),
        ("allowed_marketplaces: ['100']\n", ["line 1", "allowed_marketplaces", "must be a list of ids"]),
        ("allowed_marketplaces: [true]\n", ["line 1", "allowed_marketplaces", "must be a list of ids"]),
        ("allowed_marketplace_types: [1]\n", ["line 1", "allowed_marketplace_types", "must be a list of names"]),
        ("minimum_frequency_seconds: daily\n", ["line 1", "minimum_frequency_seconds", "'daily'"]),
        ("minimum_frequency_seconds: 0\n", ["line 1", "minimum_frequency_seconds", "above 0", "0"]),
        ("minimum_frequency_seconds: 1.5\n", ["line 1", "minimum_frequency_seconds", "1.5"]),
        ("timeouts: 5\n", ["line 1", "timeouts", "'key: value' lines"]),
        ("timeouts:\n", ["line 1", "timeouts", "'key: value' lines"]),
        ("timeouts: {call_s: -1}\n", ["line 1", "timeouts.call_s", "above 0", "-1"]),
        ("timeouts: {call_s: yes}\n", ["line 1", "timeouts.call_s", "True"]),
        ("timeouts: {call_s: .inf}\n", ["line 1", "timeouts.call_s", "inf"]),
        ("timeouts: {call_s: .nan}\n", ["line 1", "timeouts.call_s", "nan"]),
        ("- a\n- b\n", ["line 1", "the file", "'key: value' lines"]),
        ("just text\n", ["line 1", "'key: value' lines"]),
        ("verify: length\nmode: [POWEROFF\n", ["line 3", "not valid YAML"]),
        ("verify: 'length\n", ["not valid YAML"]),
        ("\tverify: length\n", ["line 1", "not valid YAML"]),
        ("mode: !!python/object:os.system x\n", ["line 1", "mode"]),
        ("mode: &a [*a]\n", ["line 1", "mode"]),
        ("verify: length\nmode: LIVE\nverify: checksum\n", ["line 3", "verify", "twice"]),
        ("a: 1\n---\nb: 2\n", ["not valid YAML"]),
        ("mode: \x00\n", ["not valid YAML"]),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(text: str, words: list[str]) -> None:
    with pytest.raises(errors.UsageError) as caught:
        configuration.parse(text, "/etc/one/onebackup.yaml")
    line = str(caught.value)
    assert line.startswith("/etc/one/onebackup.yaml") and len(line.splitlines()) == 1
    assert [word for word in words if word not in line] == [], line


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="cannot read the configuration"):
        configuration.load(tmp_path)
    damaged = tmp_path / "onebackup.yaml"
    damaged.write_bytes(b"mode: \xff\xfe\n")
    with pytest.raises(errors.UsageError, match=str(damaged)):
        configuration.load(damaged)


def test_what_the_timer_reads() -> None:
    text = """
limits: {total: 8, per_host: 1}
window: "22:00-06:00,12:00-13:00"
time_zone: Europe/Madrid
jitter_minutes: 0
retry: {longest_minutes: 60}
"""
    read = configuration.parse(text, "x.yaml")
    assert (read.limits.total, read.limits.per_host, read.limits.per_datastore) == (8, 1, 2)
    assert (read.window, read.time_zone) == ("22:00-06:00,12:00-13:00", "Europe/Madrid")
    assert (read.retry.first_minutes, read.retry.longest_minutes) == (15, 60)


@pytest.mark.parametrize(
    "text, words",
    [
        ("mode: LIVE\nlimits:\n  per_hots: 3\n", ["line 3", "limits.per_hots", "is not an option", "per_host"]),
        ("limits: 3\n", ["line 1", "limits", "'key: value' lines"]),
        ("limits:\n  total: 0\n", ["line 2", "limits.total", "above 0"]),
        ("retry:\n  first_minutes: 1.5\n", ["line 2", "retry.first_minutes", "1.5"]),
        ("jitter_minutes: -1\n", ["line 1", "jitter_minutes", "0 or above"]),
        ("window: 22-6\n", ["line 1", "window", "write it like 22:00-06:00", "'22-6'"]),
        ("window: 12:30\n", ["line 1", "window", "must be text"]),
        ("window: 06:00-06:00\n", ["line 1", "window", "is empty"]),
        ("time_zone: Mars\n", ["line 1", "time_zone", "'Mars'", "Europe/Madrid"]),
    ],
)
def test_a_mistake_in_what_the_timer_reads(text: str, words: list[str]) -> None:
    test_a_mistake_is_one_line_that_names_its_place(text, words)
