# SPDX-License-Identifier: Apache-2.0
"""Marketplaces of onebackup's own driver: whole stories, restored through the gateway as OpenNebula downloads."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import boto3
import pytest
import requests

from onebackup_driver.repository.format.header import Parameters
from sandbox import process, servers
from sandbox.demo import proof
from sandbox.world import guest
from tests.conftest import SPEED, HttpMarket
from tests.e2e import checks, machines
from tests.e2e.depot import Depot
from tests.e2e.machines import Disk
from tests.e2e.site import Site, unique, wait

DISKS = (Disk(12, "qcow2", kind="OS", random=True), Disk(6, "raw", persistent=True, random=True))
Make = Callable[..., Depot]


@pytest.fixture
def make_depot(tmp_path: Path) -> Iterator[Make]:
    made: list[Depot] = []

    def make(
        site: Site, place: str = "", template: Optional[dict[str, str]] = None, new: bool = True,
        parameters: Optional[Parameters] = None,
    ) -> Depot:
        made.append(Depot(site, place or f"dir:{tmp_path / 'repository'}", template, new, parameters))
        return made[-1]

    yield make
    for depot in made:
        depot.stop_gateway()


def section(depot: Depot) -> str:
    return f'FREQUENCY_SECONDS="86400", MARKETPLACE_ID="{depot.market}"'


def live_on(site: Site, vm_id: int) -> list[proof.Content]:
    """Let the guest of a VM that is off run a while; what is on its disks when it is off again."""
    site.call("one.vm.action", "resume", vm_id)
    machines.await_state(site, vm_id, machines.RUNNING)
    before = max(filter(None, guest.inspect(machines.vm_disks(site, vm_id)).counters), default=0)
    machines.await_guest(site, vm_id, before + 3)
    machines.bring_to(site, vm_id, machines.POWEROFF)
    return machines.contents(machines.vm_disks(site, vm_id))


def restored_contents(site: Site, vm_id: int, point: int, disks: int = len(DISKS)) -> list[proof.Content]:
    back = site.onebackup("restore", vm_id, "-d", "default", "--backup", point, "--no-start")
    assert back.out.count("Verified image") == disks, back
    made = checks.restored(back)
    return machines.contents(checks.image_disks(site, made))


@pytest.mark.both_versions
def test_two_days_in_a_directory(site: Site, make_depot: Make) -> None:
    depot = make_depot(site)
    vm_id = machines.machine(site, DISKS, machines.POWEROFF, guest=True, backup=section(depot))
    first_day = machines.contents(machines.vm_disks(site, vm_id))
    first = checks.backed_up(site, vm_id)
    first_packs, first_names = depot.packs(), depot.manifests()
    second_day = live_on(site, vm_id)
    second = checks.backed_up(site, vm_id, "--force", "--keep-backup")

    assert first_day != second_day and set(site.apps()) == {*first, *second}
    assert depot.packs() - first_packs < first_packs / 4, "the second day stores what changed"
    assert restored_contents(site, vm_id, first[-1]) == first_day
    assert restored_contents(site, vm_id, second[-1]) == second_day

    for app in first:
        site.call("one.marketapp.delete", app)
    wait("the driver to delete", lambda: len(first_names & depot.manifests()) == 1)  # the VM's own record stays
    kept = depot.packs()
    for _ in range(2):
        depot.grow_old()
        report = checks.good(depot.command("gc")).out
    assert "restore points need" in report and not first_names & depot.manifests() and depot.packs() < kept
    assert restored_contents(site, vm_id, second[-1]) == second_day
    assert json.loads(checks.good(depot.command("verify", "--json")).out)["whole"] is True


def test_the_next_backup_replaces_the_first(site: Site, make_depot: Make) -> None:
    depot = make_depot(site)
    vm_id = machines.machine(site, DISKS, backup=section(depot))
    first = checks.backed_up(site, vm_id)
    names = depot.manifests()
    assert len(names) == 3
    checks.good(site.onebackup("backup", vm_id, "--force"))
    wait("the driver to delete", lambda: len(names & depot.manifests()) == 1)
    assert not set(first) & set(site.apps()) and len(depot.manifests()) == 4


def test_two_days_in_an_encrypted_bucket(site: Site, make_depot: Make, tmp_path: Path) -> None:
    with servers.s3_server(tmp_path / "s3") as store:
        place, template = bucket(store, tmp_path)
        template["KEY_FILE"] = str(tmp_path / "key")
        quick = Parameters(longest_run_s=10, grace_s=11)
        depot = make_depot(site, place, template, parameters=quick)
        vm_id = machines.machine(site, DISKS, machines.POWEROFF, guest=True, backup=section(depot))
        first_day = machines.contents(machines.vm_disks(site, vm_id))
        first = checks.backed_up(site, vm_id)
        second_day = live_on(site, vm_id)
        second = checks.backed_up(site, vm_id, "--force", "--keep-backup")

        assert restored_contents(site, vm_id, first[-1]) == first_day
        assert restored_contents(site, vm_id, second[-1]) == second_day
        assert checks.good(depot.command("key export")).out.splitlines()[1].startswith("onebackup-key-1:")
        status = numbers(depot, "status")
        assert status["encrypted"] and status["restore_points"] == 6 and status["deduplication"] > 1.5

        for app in first:
            site.call("one.marketapp.delete", app)
        wait("the driver to delete", lambda: numbers(depot, "status")["restore_points"] == 4, pause_s=0.5)
        wait("gc to delete", lambda: numbers(depot, "gc")["deleted"]["packs"] > 0, 90, pause_s=2)
        assert restored_contents(site, vm_id, second[-1]) == second_day
        assert numbers(depot, "verify")["whole"] is True
        depot.stop_gateway()


def bucket(store: servers.S3Server, folder: Path) -> tuple[str, dict[str, str]]:
    """A new bucket, as place of a repository and the template that goes with it."""
    keys = {"aws_access_key_id": store.access_key, "aws_secret_access_key": store.secret_key}
    name = unique("depot")
    boto3.client("s3", endpoint_url=store.endpoint, region_name="us-east-1", **keys).create_bucket(Bucket=name)
    credentials = folder / "credentials"
    credentials.write_text("[default]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()))
    return f"s3://{name}/backups", {
        "ENDPOINT": store.endpoint, "REGION": "us-east-1", "FORCE_PATH_STYLE": "yes",
        "CREDENTIALS_FILE": str(credentials),
    }  # fmt: skip


def numbers(depot: Depot, verb: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(checks.good(depot.command(verb, "--json")).out)
    return found


def test_a_gateway_that_is_down(site: Site, make_depot: Make) -> None:
    depot = make_depot(site)
    vm_id = machines.machine(site, (Disk(8, "raw", random=True),), backup=section(depot))
    depot.stop_gateway()
    before = site.everything()

    done = site.onebackup("backup", vm_id)

    assert done.code == 3 and f"http://127.0.0.1:{depot.port} does not answer" in done.error_line
    assert "systemctl start onebackup-gateway" in done.error_line
    assert site.everything() == before and site.vm_state(vm_id) == machines.RUNNING and not depot.manifests()
    depot.start_gateway()
    depot.configure(verify="length")
    checks.backed_up(site, vm_id)
    depot.stop_gateway()
    before = site.everything()
    back = site.onebackup("restore", vm_id, "-d", "default")
    assert back.code == 3 and f"127.0.0.1:{depot.port}" in back.error_line and "onebackup doctor" in back.error_line
    assert site.everything() == before


def test_a_gateway_finds_repositories_that_its_driver_never_saw(site: Site, make_depot: Make) -> None:
    """A follower that has just become the leader: the state directory knows nothing, nor had it a monitor yet."""
    depot = make_depot(site)
    vm_id = machines.machine(site, (Disk(8, "raw", random=True),), machines.POWEROFF, backup=section(depot))
    before = machines.contents(machines.vm_disks(site, vm_id))
    app = checks.backed_up(site, vm_id)[0]
    depot.stop_gateway()
    shutil.rmtree(site.location / "var" / "onebackup" / "repositories")
    source = site.info("marketapp", app).findtext("SOURCE", "")
    depot.start_gateway(ONE_XMLRPC="http://127.0.0.1:9/RPC2")
    assert requests.get(source, timeout=60).status_code == 503  # nobody can be asked: not "there is none"
    depot.stop_gateway()
    depot.start_gateway()
    assert restored_contents(site, vm_id, site.recorded(vm_id)[-1], 1) == before
    unknown = source.replace(source.split("/")[3], "0" * 32)
    assert requests.get(unknown, timeout=60).status_code == 404

    moved = depot.folder.with_name("moved")
    depot.folder.rename(moved)  # the gateway has it open
    assert requests.get(source, timeout=60).status_code == 503  # not mounted is not deleted
    site.call("one.market.update", depot.market, f'REPOSITORY="dir:{moved}"', 1)
    wait("the gateway to look again", lambda: requests.get(source, timeout=60).status_code == 200)


def test_a_gateway_with_a_certificate_of_the_site(site: Site, make_depot: Make, tmp_path: Path) -> None:
    """Nobody knows who signed it: neither does downloader.sh ask. The token is shown in no message."""
    depot = make_depot(site)
    depot.stop_gateway()
    certificate, key, token = (tmp_path / name for name in ("certificate", "key", "token"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=gateway", "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True,
    )  # fmt: skip
    token.write_text("a-token-of-some-length\n")
    depot.configure({"tls_certificate": str(certificate), "tls_key": str(key), "token_file": str(token)})
    vm_id = machines.machine(site, (Disk(8, "raw", random=True),), machines.POWEROFF, backup=section(depot))
    before = machines.contents(machines.vm_disks(site, vm_id))
    refused = site.onebackup("backup", vm_id)
    assert refused.code == 3 and "does not answer" in refused.error_line and "a-token" not in refused.error_line
    depot.start_gateway()
    app = checks.backed_up(site, vm_id)[0]
    assert site.info("marketapp", app).findtext("SOURCE", "").startswith(f"https://127.0.0.1:{depot.port}/a-token-")
    assert restored_contents(site, vm_id, site.recorded(vm_id)[-1], 1) == before
    depot.stop_gateway()
    refused = site.onebackup("restore", vm_id, "-d", "default")
    assert refused.code == 3 and "a-token" not in refused.error_line


def test_a_marketplace_without_a_repository_is_not_made(site: Site, make_depot: Make) -> None:
    depot = make_depot(site)
    with pytest.raises(process.Refused, match="REPOSITORY"):
        depot.make_market(REPOSITORY="")
    listed = checks.good(site.onebackup("repository", "status", depot.market, "--json")).out
    assert json.loads(listed)["place"] == depot.place
    assert "is one of the driver http" in site.onebackup("repository", "status", site.market).error_line


def test_a_damaged_repository_fails_the_restore(site: Site, make_depot: Make) -> None:
    depot = make_depot(site)
    vm_id = machines.machine(site, (Disk(8, "raw", random=True),), backup=section(depot))
    checks.backed_up(site, vm_id)
    packs = [path for path in (depot.folder / "packs").rglob("*") if path.is_file()]
    pack = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    place = random.Random(1).randrange(1000, len(content) // 2)
    content[place] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)
    before = site.everything()

    back = site.onebackup("restore", vm_id, "-d", "default")

    assert back.code == 1 and "downloaded" in back.error_line, back
    assert site.everything() == before
    found = depot.command("verify", "--json")
    assert found.code == 1 and json.loads(found.out)["whole"] is False


def test_a_lost_database(site: Site, make_depot: Make, tmp_path: Path, http_market_server: HttpMarket) -> None:
    """Another front-end, which knows nothing, gets all restore points from the repository and restores one."""
    depot = make_depot(site)
    vm_id = machines.machine(site, DISKS, machines.POWEROFF, backup=section(depot), name="web one")
    first_day = machines.contents(machines.vm_disks(site, vm_id))
    checks.backed_up(site, vm_id)
    with process.start(tmp_path / "other", "6.4", speed=SPEED) as front_end:
        other = Site(front_end, tmp_path / "other site", http_market_server)
        make_depot(other, depot.place, {"PUBLISH_CATALOGUE": "YES"}, False)
        wait("the catalogue", lambda: [item["problems"] for item in checks.listed(other)] == [[]], pause_s=0.3)
        (point,) = checks.listed(other)
        assert (point["vm_name"], point["problems"], len(point["disks"])) == ("web one", [], 2)
        depot.stop_gateway()
        made = checks.restored(other.onebackup("restore", "--app", point["id"], "-d", "default", "--no-start"))
        assert machines.contents(checks.image_disks(other, made)) == first_day
        machines.bring_to(other, made, machines.DONE)  # its BACKUP names a marketplace of the old front-end
        # oned lists apps for everybody to read: the next run closes them, once
        assert {rights_of_others(other, app) for app in other.apps()} == {"100100"}
        checks.good(other.onebackup("run"))
        assert {rights_of_others(other, app) for app in other.apps()} == {"000000"}
        other.call("one.marketapp.chmod", other.apps()[0], -1, -1, -1, -1, -1, -1, 1, -1, -1)
        checks.good(other.onebackup("run"))
        assert rights_of_others(other, other.apps()[0]) == "000100"


def rights_of_others(site: Site, app_id: int) -> str:
    rights = site.info("marketapp", app_id).find("PERMISSIONS")
    assert rights is not None
    return "".join(rights.findtext(f"{who}_{what}", "") for who in ("GROUP", "OTHER") for what in "UMA")


def test_two_front_ends_on_one_repository(
    site: Site, make_depot: Make, tmp_path: Path, http_market_server: HttpMarket
) -> None:
    """Both back up at once, one deletes and collects garbage; what the other one has is whole."""
    depot = make_depot(site)
    with process.start(tmp_path / "other", "6.4", speed=SPEED) as front_end:
        other = Site(front_end, tmp_path / "other site", http_market_server)
        second = make_depot(other, depot.place, new=False)
        vms = [machines.machine(at, DISKS, machines.POWEROFF, backup=section(of))
               for at, of in ((site, depot), (other, second))]  # fmt: skip
        before = [machines.contents(machines.vm_disks(at, vm)) for at, vm in zip((site, other), vms)]
        for run in [at.begin("backup", vm) for at, vm in zip((site, other), vms)]:
            checks.good(run.end())
        assert numbers(depot, "status")["restore_points"] == 6
        for app in site.recorded(vms[0]):
            site.call("one.marketapp.delete", app)
        wait("the driver to delete", lambda: numbers(depot, "status")["restore_points"] == 4, pause_s=0.5)
        for _ in range(2):
            depot.grow_old()
            checks.good(depot.command("gc"))
        assert restored_contents(other, vms[1], other.recorded(vms[1])[-1]) == before[1]
        again = checks.backed_up(site, vms[0], "--force")
        assert restored_contents(site, vms[0], again[-1]) == before[0]
        assert numbers(second, "verify")["whole"] is True
        second.stop_gateway()
