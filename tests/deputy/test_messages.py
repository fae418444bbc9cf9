# SPDX-License-Identifier: Apache-2.0
"""What is said at three in the morning: real failures, and the facts that their lines must hold.

A line says what failed, on which object, what state everything is in, what was undone and what is left to do, with the
command. Only these facts are asserted, not the sentences: `pytest -s` prints all of them for reading.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.deputy import tenants
from tests.e2e import checks, machines
from tests.e2e.proxy import Proxy
from tests.e2e.site import Result, Site, wait

#: Every backup that failed and was undone.
UNDONE = ("is RUNNING", "was removed", "restore points are untouched")


@dataclass(frozen=True)
class Told:
    """How a command ended. `vm_id`: its ONEBACKUP must say `shown`, too. `out`: the words are on stdout, an answer."""

    result: Result
    code: int
    words: tuple[str, ...]
    vm_id: int = -1
    shown: tuple[str, ...] = ()
    out: bool = False
    lines: int = 1


Scenario = Callable[[Site, Proxy], Told]
SCENARIOS: list[Scenario] = []


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.append(function)
    return function


def quiet(site: Site, *arguments: object) -> Result:
    """A command whose log goes to a file: what it says on a terminal is its answer or its error."""
    return site.onebackup(*arguments, "--logger", site.folder / "log")


def fail(site: Site, method: str, nth: int = 1, times: int = 1, code: int = 2048, message: str = "no luck") -> None:
    site.front_end.control("fail", method=method, nth=nth, times=times, code=code, message=message)


# -- backups that break off


@scenario
def poweroff_falls_back(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    site.front_end.control("slow", what="poweroff", seconds=0.3)
    site.front_end.control("next", what="poweroff", result="fail", vm=vm_id)
    words = (f"poweroff of VM {vm_id}", "fell back to RUNNING", f"/var/log/one/{vm_id}.log", *UNDONE)
    return Told(quiet(site, "backup", vm_id), 1, words, vm_id, ("poweroff", "RUNNING", "nothing older was lost"))


@scenario
def poweroff_refused(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    fail(site, "one.vm.action", message="[one.vm.action] Wrong state")
    words = ("refused to poweroff", f"VM {vm_id}", "Wrong state", *UNDONE)
    return Told(quiet(site, "backup", vm_id), 1, words, vm_id, ("refused", "nothing older was lost"))


@scenario
def poweroff_never_ends(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    site.configure(timeouts={"power_off_s": 0.4})
    site.front_end.control("slow", what="poweroff", seconds=1)
    words = (f"VM {vm_id} did not power off within 0.4 s", *UNDONE)
    return Told(quiet(site, "backup", vm_id), 1, words, vm_id, ("did not power off",))


@scenario
def resume_falls_back(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    site.front_end.control("slow", what="resume", seconds=0.3)
    site.front_end.control("next", what="resume", result="fail", times=9, vm=vm_id)
    words = (f"resume of VM {vm_id}", f"VM {vm_id} is left POWEROFF", f"onevm resume {vm_id} && onebackup recover")
    shown = ("resume", "POWEROFF", f"left to do: onevm resume {vm_id}")
    return Told(quiet(site, "backup", vm_id), 4, words, vm_id, shown)


@scenario
def locked_in_the_middle(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    proxy.at("one.vm.disksaveas", lambda: site.call("one.vm.lock", vm_id, 1, False))
    words = (f"VM {vm_id}", "locked", "POWEROFF", f"onevm unlock {vm_id} && onevm resume {vm_id} && onebackup recover")
    return Told(quiet(site, "backup", vm_id), 4, words)


@scenario
def saving_a_disk_refused(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    fail(site, "one.vm.disksaveas", message="limit of 10 reached for SIZE quota in datastore 1")
    words = (f"disk 0 of VM {vm_id}", "SIZE quota in datastore 1", *UNDONE)
    return Told(quiet(site, "backup", vm_id), 1, words, vm_id, ("disk 0", "SIZE quota"))


@scenario
def saving_a_disk_fails_later(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    site.front_end.control("next", what="saveas", result="fail", vm=vm_id)
    words = (f"disk 0 of VM {vm_id}", "image ", "ERROR", f"/var/log/one/{vm_id}.log", *UNDONE)
    return Told(quiet(site, "backup", vm_id), 1, words, vm_id, ("disk 0", "ERROR"))


@scenario
def an_upload_fails(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    site.front_end.control("next", what="import", result="fail")
    words = ("upload of app ", f"marketplace {site.market}", "disk 0", *UNDONE)
    return Told(quiet(site, "backup", vm_id), 1, words, vm_id, ("upload",))


@scenario
def an_upload_never_ends(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    site.configure(timeouts={"upload_s": 0.4})
    site.front_end.control("slow", what="import", seconds=1.5)
    words = ("upload of app ", f"marketplace {site.market}", "within 0.4 s", "upload_s", *UNDONE)
    return Told(quiet(site, "backup", vm_id), 1, words, vm_id, ("upload",))


@scenario
def the_marketplace_takes_no_app(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    fail(site, "one.marketapp.allocate", message="Create disabled for market: x")
    words = (f"marketplace {site.market} does not take disk 0", "Create disabled", *UNDONE)
    return Told(quiet(site, "backup", vm_id), 1, words, vm_id, ("does not take disk 0",))


@scenario
def the_marketplace_holds_other_bytes(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    before = set(site.server.public_dir.iterdir())

    def rot() -> None:
        wait(
            "the upload", lambda: site.apps() != [] and site.info("marketapp", site.apps()[-1]).findtext("STATE") == "1"
        )
        (stored,) = set(site.server.public_dir.iterdir()) - before
        stored.write_bytes(b"rot" + stored.read_bytes()[3:])

    proxy.at("one.marketapp.info", rot, nth=2)
    words = ("app ", "MD5", f"marketplace {site.market}", *UNDONE)
    return Told(quiet(site, "backup", vm_id), 1, words, vm_id, ("MD5",))


@scenario
def the_marketplaces_server_is_down(site: Site, proxy: Proxy) -> Told:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    market = site.make_market(BASE_URL=url)
    vm_id = machines.machine(site, backup=f'FREQUENCY_SECONDS="300",MARKETPLACE_ID="{market}"')
    words = (f"marketplace {market}", url.rstrip("/"), "app ", *UNDONE)
    return Told(quiet(site, "backup", vm_id), 1, words, vm_id, (url.rstrip("/"),))


@scenario
def terminated_in_the_middle(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    proxy.at("one.vm.disksaveas", lambda: machines.bring_to(site, vm_id, machines.DONE))
    words = (f"VM {vm_id} is DONE", "was removed", "restore points are untouched")
    return Told(quiet(site, "backup", vm_id), 1, words)


@scenario
def ended_by_a_signal(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    run = site.begin("backup", vm_id, "--logger", site.folder / "log")
    proxy.at("one.vm.disksaveas", lambda: run.process.send_signal(signal.SIGTERM), when="after")
    words = ("signal 15", f"VM {vm_id} is RUNNING", "was removed", "restore points are untouched")
    return Told(run.end(), 128 + 15, words, vm_id, ("signal 15", "RUNNING"))


@scenario
def the_old_restore_point_cannot_go(site: Site, proxy: Proxy) -> Told:
    """The new one is good: no failure, but something to look at."""
    vm_id = machines.machine(site)
    old = checks.backed_up(site, vm_id)
    site.call("one.marketapp.lock", old[0], 2, False)
    done = quiet(site, "backup", vm_id, "--force")
    site.call("one.marketapp.unlock", old[0])
    return Told(
        done, 0, (), vm_id, (f"restore point {old[-1]}", f"app {old[0]} is locked", "onemarketapp unlock"), True, 0
    )


# -- what is refused before anything is touched


@scenario
def there_is_no_such_vm(site: Site, proxy: Proxy) -> Told:
    return Told(quiet(site, "backup", 99999), 3, ("no VM 99999", "onevm list"))


@scenario
def a_vm_that_is_done(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site, state=machines.DONE)
    return Told(quiet(site, "backup", vm_id), 3, (f"VM {vm_id} is DONE",))


@scenario
def no_backup_section(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site, backup="-")
    words = (f"VM {vm_id}", "BACKUP=[FREQUENCY_SECONDS=", f"onevm update {vm_id}")
    return Told(quiet(site, "backup", vm_id), 3, words)


@scenario
def a_bad_frequency(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site, backup='FREQUENCY_SECONDS="daily"')
    return Told(quiet(site, "backup", vm_id), 3, (f"VM {vm_id}", "FREQUENCY_SECONDS", "'daily'", "number of seconds"))


@scenario
def a_marketplace_that_is_disabled(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    site.call("one.market.enable", site.market, False)
    return Told(quiet(site, "backup", vm_id), 3, (f"marketplace {site.market}", f"onemarket enable {site.market}"))


@scenario
def a_marketplace_that_is_not_there(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site, backup='FREQUENCY_SECONDS="300",MARKETPLACE_ID="4711"')
    return Told(quiet(site, "backup", vm_id), 3, (f"VM {vm_id}", "marketplace 4711", "onemarket list"))


@scenario
def a_marketplace_that_the_site_does_not_allow(site: Site, proxy: Proxy) -> Told:
    site.configure(allowed_marketplaces=[4711])
    vm_id = machines.machine(site)
    words = (f"VM {vm_id}", f"marketplace {site.market}", "allowed_marketplaces", "onebackup.yaml")
    return Told(quiet(site, "backup", vm_id), 3, words)


@scenario
def an_s3_marketplace_without_keys(site: Site, proxy: Proxy) -> Told:
    market = site.make_market(MARKET_MAD="s3", BUCKET="b", REGION="r", ACCESS_KEY_ID="k", SECRET_ACCESS_KEY="s")
    site.call("one.market.update", market, 'ACCESS_KEY_ID=""', 1)
    vm_id = machines.machine(site, backup=f'FREQUENCY_SECONDS="300",MARKETPLACE_ID="{market}"')
    return Told(quiet(site, "backup", vm_id), 3, (f"marketplace {market}", "s3_credentials_file"))


@scenario
def a_locked_vm(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    site.call("one.vm.lock", vm_id, 1, False)
    return Told(quiet(site, "backup", vm_id), 3, (f"VM {vm_id} is locked", f"onevm unlock {vm_id}"))


@scenario
def somebody_else_works_on_the_vm(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    site.front_end.control("slow", what="import", seconds=2)
    first = site.begin("backup", vm_id)
    wait("the first backup", lambda: site.user_template(vm_id, "ONEBACKUP/STATE") == "RUNNING")
    second = quiet(site, "backup", vm_id)
    checks.good(first.end())
    return Told(second, 3, (f"VM {vm_id}", "is being backed up", f"pid {first.process.pid}", "since"))


@scenario
def no_room_for_the_journal(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    place = site.location / "var" / "onebackup"
    place.mkdir(parents=True)
    (place / "journal").write_text("")
    words = (str(place / "journal"), f"VM {vm_id}", "nothing was touched")
    return Told(quiet(site, "backup", vm_id), 3, words)


@scenario
def a_front_end_that_is_not_there(site: Site, proxy: Proxy) -> Told:
    site.endpoint = "http://127.0.0.1:9/RPC2"
    return Told(quiet(site, "backup", 1), 3, ("http://127.0.0.1:9/RPC2", "does oned run", "ONE_XMLRPC"))


@scenario
def a_wrong_password(site: Site, proxy: Proxy) -> Told:
    path = site.folder / "one_auth"
    path.write_text("oneadmin:hunter2")
    result = site.onebackup("backup", 1, ONE_AUTH=str(path))
    assert "hunter2" not in result.err
    return Told(result, 3, (str(path), "password"))


@scenario
def no_session_file(site: Site, proxy: Proxy) -> Told:
    path = site.folder / "nothing"
    return Told(site.onebackup("list", ONE_AUTH=str(path)), 3, (str(path), "oneadmin", "ONE_AUTH"))


@scenario
def a_bad_configuration(site: Site, proxy: Proxy) -> Told:
    site.configure(minimum_frequency_second=5)
    place = str(site.location / "etc" / "onebackup.yaml")
    return Told(quiet(site, "run"), 2, (place, "line 1", "minimum_frequency_second"))


# -- restores


@scenario
def nothing_to_restore(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    return Told(
        quiet(site, "restore", vm_id, "-d", "default"), 3, (f"no restore point of VM {vm_id}", "onebackup list")
    )


@scenario
def no_such_datastore(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    return Told(quiet(site, "restore", vm_id, "-d", "nowhere"), 3, ("'nowhere'", "onedatastore list"))


@scenario
def a_download_fails(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    apps = checks.backed_up(site, vm_id)
    site.front_end.control("next", what="download", result="fail")
    words = (f"app {apps[0]} (disk 0)", "could not be downloaded", "oned.log", "was removed", "points are untouched")
    return Told(quiet(site, "restore", vm_id, "-d", "default"), 1, words)


@scenario
def a_restored_vm_does_not_boot(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    site.front_end.control("next", what="boot", result="fail")
    words = ("restored VM ", "BOOT_FAILURE", "/var/log/one/", "was removed", "restore points are untouched")
    return Told(quiet(site, "restore", vm_id, "-d", "default"), 1, words)


@scenario
def a_restore_that_cannot_be_undone(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    checks.backed_up(site, vm_id)
    site.configure(timeouts={"undo_s": 0.5})
    site.front_end.control("next", what="boot", result="fail")
    fail(site, "one.template.delete", times=99, code=512, message="[one.template.delete] VMTEMPLATE is locked")
    words = ("BOOT_FAILURE", "could not be undone", "template ", "onebackup recover")
    return Told(quiet(site, "restore", vm_id, "-d", "default"), 4, words)


@scenario
def a_disk_of_the_restore_point_is_gone(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    apps = checks.backed_up(site, vm_id)
    site.call("one.marketapp.delete", apps[0])
    words = (f"VM {vm_id}", f"app {apps[0]} of disk 0 is gone", str(apps[-1]))
    return Told(quiet(site, "restore", vm_id, "-d", "default"), 3, words)


@scenario
def a_restore_point_that_its_owner_changed(site: Site, proxy: Proxy) -> Told:
    owner = tenants.new(site, "owner")
    vm_id = owner.machine()
    site.configure(app_owner="vm_owner")
    apps = checks.backed_up(site, vm_id)
    owner.call("one.marketapp.update", apps[-1], 'ONEBACKUP_VM="PFZNPg=="', 1)
    words = (f"app {apps[-1]}", f"user {owner.uid}", "seal", f"onemarketapp chown {apps[-1]} 0")
    return Told(quiet(site, "restore", "--app", apps[-1], "-d", "default"), 3, words)


# -- the timer, recover, doctor


@scenario
def a_run_with_a_failure(site: Site, proxy: Proxy) -> Told:
    good, bad = machines.machine(site), machines.machine(site)
    site.front_end.control("next", what="saveas", result="fail", vm=bad)
    words = ("1 done", "1 failed", f"failed: VM {bad}", "disk 0", "is RUNNING")
    told = Told(site.onebackup("run"), 1, words, bad, ("disk 0",), True, 0)
    assert f"VM {good}" not in told.result.out
    return told


@scenario
def a_run_with_bad_sections(site: Site, proxy: Proxy) -> Told:
    bad = machines.machine(site, backup='FREQUENCY_SECONDS="-5"')
    words = ("1 failed", f"VM {bad}", "FREQUENCY_SECONDS", "'-5'")
    return Told(site.onebackup("run"), 1, words, out=True, lines=0)


@scenario
def a_run_while_another_goes_on(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    site.front_end.control("slow", what="import", seconds=2)
    first = site.begin("run")
    wait("the first run", lambda: site.user_template(vm_id, "ONEBACKUP/STATE") == "RUNNING")
    second = site.onebackup("run")
    checks.good(first.end())
    return Told(second, 0, (f"pid {first.process.pid}", "since"), out=True, lines=0)


@scenario
def recover_a_run_that_was_killed(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    killed(site, proxy, vm_id)
    words = (f"VM {vm_id}", "undid the backup of a process that died", "RUNNING")
    return Told(site.onebackup("recover"), 0, words, vm_id, ("interrupted", "undone"), True, 0)


@scenario
def recover_a_vm_that_is_locked(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    killed(site, proxy, vm_id)
    site.call("one.vm.lock", vm_id, 1, False)
    words = (f"VM {vm_id}", "POWEROFF", f"onevm unlock {vm_id} && onevm resume {vm_id} && onebackup recover")
    return Told(site.onebackup("recover"), 4, words, out=True, lines=0)


@scenario
def recover_with_a_damaged_journal(site: Site, proxy: Proxy) -> Told:
    place = site.location / "var" / "onebackup" / "journal"
    place.mkdir(parents=True)
    (place / ("a" * 32 + ".json")).write_text("{")
    return Told(site.onebackup("recover"), 4, (str(place / ("a" * 32 + ".json")), "move it away"), out=True, lines=0)


@scenario
def a_backup_after_a_dead_run_that_cannot_be_undone(site: Site, proxy: Proxy) -> Told:
    vm_id = machines.machine(site)
    killed(site, proxy, vm_id)
    site.front_end.control("slow", what="resume", seconds=0.3)
    site.front_end.control("next", what="resume", result="fail", times=9, vm=vm_id)
    words = (f"VM {vm_id}", "POWEROFF", f"onevm resume {vm_id} && onebackup recover")
    return Told(quiet(site, "backup", vm_id), 4, words)


# -- repository, gateway, driver, hooks


@scenario
def a_repository_that_is_not_there(site: Site, proxy: Proxy) -> Told:
    place = site.folder / "nowhere"
    words = (str(place), "onebackup repository create")
    return Told(site.onebackup("repository", "status", f"dir:{place}"), 3, words)


@scenario
def a_damaged_repository(site: Site, proxy: Proxy) -> Told:
    place = site.folder / "repository"
    checks.good(site.onebackup("repository", "create", f"dir:{place}"))
    header = max((path for path in place.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    header.write_bytes(header.read_bytes()[:-1] + b"?")
    words = (header.name, "bring it back from a copy of", str(place))
    return Told(site.onebackup("repository", "verify", f"dir:{place}"), 1, words, out=False)


@scenario
def a_gateway_port_that_is_taken(site: Site, proxy: Proxy) -> Told:
    with listening() as port:
        site.configure(gateway={"port": port})
        return Told(site.onebackup("gateway"), 1, (f"port {port}", "127.0.0.1"))


@scenario
def a_gateway_open_to_the_world(site: Site, proxy: Proxy) -> Told:
    site.configure(gateway={"address": "0.0.0.0"})
    words = ("0.0.0.0", "tls_certificate", "tls_key", "token_file")
    return Told(site.onebackup("gateway", "--port", 0), 2, words)


@scenario
def wrong_usage(site: Site, proxy: Proxy) -> Told:
    return Told(site.onebackup("restore", "1"), 2, ("-d", "onedatastore list"))


def killed(site: Site, proxy: Proxy, vm_id: int) -> None:
    """A backup of the VM dies with the VM powered off and a disk saved."""
    run = site.begin("backup", vm_id)
    proxy.at("one.vm.disksaveas", run.process.kill, when="after")
    run.process.communicate(timeout=60)
    wait("the copy", lambda: site.vm_state(vm_id) == machines.POWEROFF)


@contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize("happens", SCENARIOS, ids=lambda item: item.__name__)
def test_the_line_helps(site: Site, proxy: Proxy, happens: Scenario) -> None:
    told = happens(site, proxy)
    site.front_end.control("clear")
    result, said = told.result, told.result.out if told.out else told.result.err
    shown = onebackup_of(site, told.vm_id)
    print(f"\n== {happens.__name__}: exit {result.code}\nout: {result.out}err: {result.err}shown: {shown}")
    assert result.code == told.code, result
    if not told.out:
        assert result.out == "", "stdout is for answers"
        assert len(result.err.splitlines()) == told.lines and result.err.startswith("ERROR: "), result.err
    for word in told.words:
        assert word in said, f"{word!r} is not in: {said}"
    for word in told.shown:
        assert word in shown, f"{word!r} is not in: {shown}"


def onebackup_of(site: Site, vm_id: int) -> str:
    section = site.info("vm", vm_id).find("USER_TEMPLATE/ONEBACKUP") if vm_id >= 0 else None
    return " | ".join(f"{item.tag}={item.text}" for item in section) if section is not None else ""
