# SPDX-License-Identifier: Apache-2.0
"""What an admin or a VM's owner can get wrong: one clear line on stderr, the documented exit code, nothing touched."""

from __future__ import annotations

import socket
import time
from xml.sax.saxutils import escape

import pytest

from sandbox.process import Refused
from tests.e2e import checks, machines
from tests.e2e.machines import Disk
from tests.e2e.proxy import Proxy
from tests.e2e.site import Result, Site, unique

AWKWARD = {
    "quotes": 'say "yes" and \'no\'',
    "newlines": "one\ntwo\n\nthree",
    "brackets": "a ] b [ c ]",
    "cdata": "before ]]> after",
    "backslash": "ends with a backslash \\",
    "backslashes": 'C:\\new\\"x"\\',
    "unicode": "Ünïcødé 日本語 🗄",
    "markup": "<b>&amp;</b> & more",
    "128": "x" * 128,
    "200": "y" * 200,
    "equals": 'A=[B="c",D=5], # no comment',
}


def refused(site: Site, proxy: Proxy, *arguments: object, code: int = 3, **environment: str) -> str:
    """Run onebackup; its one line on stderr. Nothing was changed."""
    proxy.calls.clear()
    result = site.onebackup(*arguments, **environment)
    assert result.code == code, result
    assert proxy.changing_calls() == []
    assert result.out == "" or arguments[0] == "restore", result
    return result.error_line


# -- the command line and the configuration


@pytest.mark.parametrize(
    "arguments",
    [(), ("backup",), ("backup", "web"), ("backup", "-1"), ("backup", "1", "2"), ("backup", "1", "--frobnicate"),
     ("backup", "99999999999"), ("backup", "1", "--market", "x"), ("frobnicate",), ("list", "x"), ("restore", "1"),
     ("restore", "-d", "default"), ("restore", "1", "-d", "1", "--app", "2"), ("backup", "1", "--oneshot")],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage(site: Site, arguments: tuple[str, ...]) -> None:
    result = site.onebackup(*arguments)
    assert result.code == 2 and result.out == ""
    last = result.err.splitlines()[-1]
    assert "rror: " in last.replace("ERROR", "error") and len(result.err.splitlines()) <= 12, result.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modus: LIVE", ("line 1", "modus", "mode")),
        ("verify: perhaps", ("line 1", "verify", "'perhaps'")),
        ("# rules\nminimum_frequency_seconds: soon", ("line 2", "minimum_frequency_seconds", "'soon'")),
        ("timeouts:\n  boot_s: -1", ("line 2", "boot_s", "-1")),
        ("timeouts: fast", ("line 1", "timeouts")),
        ("allowed_marketplaces: all", ("line 1", "allowed_marketplaces")),
        ("a: [", ("not valid YAML",)),
        ("- a list", ("key: value",)),
        ("mode: FAST", ("FAST",)),
    ],
)
def test_a_bad_configuration_file_is_named_with_line_and_key(
    site: Site, proxy: Proxy, text: str, words: tuple[str, ...]
) -> None:
    path = site.location / "etc" / "onebackup.yaml"
    path.write_text(text + "\n")
    vm_id = 0 if text != "mode: FAST" else machines.machine(site)
    result = site.onebackup("backup", vm_id)
    assert result.code in (2, 3) and proxy.changing_calls() == [], result
    for word in (str(path), *words) if text != "mode: FAST" else ("onebackup.yaml", *words):
        assert word in result.error_line


def test_a_configuration_that_is_named_must_be_there(site: Site, proxy: Proxy) -> None:
    line = refused(site, proxy, "backup", 0, code=2, ONEBACKUP_CONFIG="/nonexistent/onebackup.yaml")
    assert "/nonexistent/onebackup.yaml" in line


def test_a_log_file_that_cannot_be_written(site: Site, proxy: Proxy) -> None:
    assert "/nonexistent/log" in refused(site, proxy, "backup", 0, "--logger", "/nonexistent/log", code=2)


# -- the front-end and the session


def unreachable(site: Site, endpoint: str) -> Result:
    site.endpoint, began = endpoint, time.monotonic()
    result = site.onebackup("backup", 0)
    assert time.monotonic() - began < 10, "an admin waits for this"
    assert result.code == 3
    return result


def test_a_front_end_that_is_not_there(site: Site) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}/RPC2"
        line = unreachable(site, endpoint).error_line
    assert endpoint in line and "ONE_XMLRPC" in line


def test_a_front_end_whose_name_is_unknown(site: Site) -> None:
    line = unreachable(site, "http://front-end.invalid:2633/RPC2").error_line
    assert "front-end.invalid" in line and "ONE_XMLRPC" in line


@pytest.mark.parametrize("endpoint", ["front-end", "ftp://127.0.0.1/RPC2", "", "http://"])
def test_an_endpoint_that_is_none(site: Site, endpoint: str) -> None:
    site.endpoint = endpoint
    result = site.onebackup("backup", 0)
    assert result.code == 3, result
    assert "ONE_XMLRPC" in result.error_line or "http://localhost:2633/RPC2" in result.error_line


def test_something_else_listens_there(site: Site) -> None:
    site.endpoint = f"{site.server.url}/RPC2"
    result = site.onebackup("backup", 0)
    assert result.code in (1, 3) and site.server.url in result.error_line, result


@pytest.mark.both_versions
def test_a_wrong_password(site: Site, proxy: Proxy) -> None:
    auth = site.folder / "one_auth"
    auth.write_text("oneadmin:wrong\n")
    line = refused(site, proxy, "backup", 0, ONE_AUTH=str(auth))
    assert "authenticat" in line.lower() and str(auth) in line


def test_no_one_auth(site: Site, proxy: Proxy) -> None:
    line = refused(site, proxy, "backup", 0, ONE_AUTH=str(site.folder / "nothing"))
    assert str(site.folder / "nothing") in line and "ONE_AUTH" in line


@pytest.mark.parametrize("text", ["", "\n", "oneadmin\n", "\udcff"])
def test_a_one_auth_without_a_session(site: Site, proxy: Proxy, text: str) -> None:
    auth = site.folder / "one_auth"
    auth.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert str(auth) in refused(site, proxy, "backup", 0, ONE_AUTH=str(auth))


# -- the VM and its BACKUP section


@pytest.mark.both_versions
def test_no_such_vm(site: Site, proxy: Proxy) -> None:
    assert "there is no VM 99999" in refused(site, proxy, "backup", 99999)


def test_a_vm_without_backup(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site, backup="-")
    line = refused(site, proxy, "backup", vm_id)
    assert f"VM {vm_id} has no BACKUP" in line and f"onevm update {vm_id}" in line
    site.call("one.vm.update", vm_id, 'BACKUP="yes"', 1)
    assert f"VM {vm_id}" in refused(site, proxy, "backup", vm_id)


def test_every_wrong_backup_section_is_told_by_key_and_value(site: Site, proxy: Proxy) -> None:
    vm_id, market = machines.machine(site), f'MARKETPLACE_ID="{site.market}"'
    for section, words in (
        (f"{market}", "no FREQUENCY_SECONDS"),
        ('FREQUENCY_SECONDS="86400"', "no MARKETPLACE_ID"),
        ('FREQUENCY_SECONDS="86400",MARKETPLACE_ID=""', "no MARKETPLACE_ID"),
        ('FREQUENCY_SECONDS="86400",MARKETPLACE_ID="backups"', "MARKETPLACE_ID of"),
        ('FREQUENCY_SECONDS="86400",MARKETPLACE_ID="-1"', "'-1'"),
        ('FREQUENCY_SECONDS="86400",MARKETPLACE_ID="99999999999999999999"', "'99999999999999999999'"),
        ('FREQUENCY_SECONDS="86400",MARKETPLACE_ID="99999"', "there is no marketplace 99999"),
        (f'FREQUENCY_SECONDS="daily",{market}', "'daily'"),
        (f'FREQUENCY_SECONDS="0",{market}', "FREQUENCY_SECONDS"),
        (f'FREQUENCY_SECONDS="-86400",{market}', "'-86400'"),
        (f'FREQUENCY_SECONDS="1e9",{market}', "'1e9'"),
        (f'FREQUENCY_SECONDS="٣٦٠٠",{market}', "FREQUENCY_SECONDS"),
        (f'FREQUENCY_SECONDS="{10**30}",{market}', "FREQUENCY_SECONDS"),
        (f'FREQUENCY_SECONDS="86400",EXCLUDE_DISKS="sda",{market}', "'sda'"),
        (f'FREQUENCY_SECONDS="86400",EXCLUDE_DISKS="0",{market}', "no disk"),
        (f'FREQUENCY_SECONDS="86400",MODE="COLD",{market}', "'COLD'"),
    ):
        machines.backup_section(site, vm_id, section)
        line = refused(site, proxy, "backup", vm_id)
        assert words in line and (f"VM {vm_id}" in line or "marketplace" in line), (section, line)


@pytest.mark.parametrize("last", ["soon", str(10**25), str(2**31 - 1)])
def test_a_last_backup_time_that_makes_no_sense_means_it_is_due(site: Site, last: str) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF)
    section = f'FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{site.market}",LAST_BACKUP_TIME="{last}"'
    machines.backup_section(site, vm_id, section)
    checks.backed_up(site, vm_id)
    assert abs(int(site.user_template(vm_id, "BACKUP/LAST_BACKUP_TIME")) - time.time()) < 60


@pytest.mark.both_versions
def test_marketplaces_that_cannot_be_used(site: Site, proxy: Proxy) -> None:
    vm_id, other = machines.machine(site), site.make_market()
    site.call("one.market.enable", other, False)
    machines.backup_section(site, vm_id, f'FREQUENCY_SECONDS="86400",MARKETPLACE_ID="{other}"')
    line = refused(site, proxy, "backup", vm_id)
    assert f"marketplace {other}" in line and "is disabled" in line and f"onemarket enable {other}" in line

    machines.backup_section(site, vm_id, 'FREQUENCY_SECONDS="86400",MARKETPLACE_ID="0"')
    assert "'one'" in refused(site, proxy, "backup", vm_id)

    site.configure(allowed_marketplaces=[other])
    line = refused(site, proxy, "backup", vm_id, "--oneshot", "--market", site.market)
    assert f"marketplace {site.market}" in line and "allowed_marketplaces" in line


def test_a_vm_with_no_disk_and_one_with_only_a_volatile_one(site: Site, proxy: Proxy) -> None:
    for more in ("", 'DISK=[TYPE="fs",SIZE="1",FORMAT="raw"]'):
        vm_id = machines.machine(site, (), more=more)
        line = refused(site, proxy, "backup", vm_id)
        assert f"VM {vm_id} has no disk that can be saved" in line


def test_a_vm_with_64_disks(site: Site) -> None:
    vm_id = machines.machine(site, [Disk()] * 64, machines.POWEROFF)
    apps = checks.backed_up(site, vm_id)
    assert len(apps) == 65
    new_id = checks.restored(site.onebackup("restore", vm_id, "-d", "default", "--no-start"))
    assert len(site.info("vm", new_id).findall("TEMPLATE/DISK")) == 64


def test_a_locked_vm(site: Site, proxy: Proxy) -> None:
    vm_id = machines.machine(site)
    site.call("one.vm.lock", vm_id, 1, False)
    line = refused(site, proxy, "backup", vm_id)
    assert "locked" in line and f"onevm unlock {vm_id}" in line


# -- names and attributes


def test_every_attribute_a_user_can_type_survives(site: Site) -> None:
    """User attributes, keys of BACKUP and of CONTEXT; written as XML, which can say everything but `]]>` as it is."""
    values = {f"A_{name.upper()}": value.replace("]]>", "]] >") for name, value in AWKWARD.items()}
    vector = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())
    vm_id = machines.machine(site)
    site.call("one.vm.update", vm_id, f"<TEMPLATE>{vector}<BACKUP><FREQUENCY_SECONDS>86400</FREQUENCY_SECONDS>"
              f"<MARKETPLACE_ID>{site.market}</MARKETPLACE_ID>{vector}</BACKUP></TEMPLATE>", 1)  # fmt: skip
    for name, value in values.items():
        assert site.user_template(vm_id, name) == site.user_template(vm_id, f"BACKUP/{name}") == value, name

    checks.backed_up(site, vm_id)
    machines.bring_to(site, vm_id, machines.DONE)
    new_id = checks.restored(site.onebackup("restore", vm_id, "-d", "default"))

    for number in (vm_id, new_id):
        for name, value in values.items():
            assert site.user_template(number, name) == value, name
            assert site.user_template(number, f"BACKUP/{name}") == value, name


def test_every_name_the_front_end_allows(site: Site) -> None:
    vm_id, allowed = machines.machine(site, state=machines.POWEROFF), 0
    for name in AWKWARD:
        try:
            site.call("one.vm.rename", vm_id, AWKWARD[name])
        except Refused:
            continue
        named_backup(site, vm_id, name)
        allowed += 1
    assert allowed >= 4


def named_backup(site: Site, vm_id: int, name: str) -> None:
    checks.backed_up(site, vm_id, "--force")
    assert checks.listed(site, vm_id)[0]["vm_name"] == " ".join(AWKWARD[name].split())
    new_id = checks.restored(site.onebackup("restore", vm_id, "-d", "default", "--no-start"))
    assert site.info("vm", new_id).findtext("NAME") == AWKWARD[name].replace("\n", "_"), "no control characters"


def test_any_name_can_be_asked_for_in_a_restore(site: Site) -> None:
    vm_id = machines.machine(site, state=machines.POWEROFF)
    checks.backed_up(site, vm_id)
    for name in (AWKWARD["quotes"], AWKWARD["newlines"], AWKWARD["backslash"], "日" * 100, "/;"):
        new_id = checks.restored(site.onebackup("restore", vm_id, "-d", "default", "--no-start", "--name", name))
        assert 0 < len((site.info("vm", new_id).findtext("NAME") or "").encode()) <= 128


def test_what_a_user_types_does_not_reach_the_terminal_as_it_is(site: Site) -> None:
    vm_id = machines.machine(site, name=unique("web"))
    machines.backup_section(site, vm_id, f'FREQUENCY_SECONDS="\x7f\u009b31m",MARKETPLACE_ID="{site.market}"')
    result = site.onebackup("backup", vm_id)
    assert result.code == 3 and result.error_line.isprintable(), ascii(result.err)
