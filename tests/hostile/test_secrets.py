# SPDX-License-Identifier: Apache-2.0
"""A whole story with secrets that can be told: none shows where it need not be."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from onebackup_driver import manifest
from onebackup_driver.market import payload
from onebackup_driver.repository import keys
from sandbox import servers
from sandbox.process import FrontEnd
from tests.conftest import HttpMarket
from tests.e2e import machines
from tests.e2e.depot import Depot
from tests.e2e.machines import Disk
from tests.e2e.site import Result, Site, unique
from tests.hostile import secrets_watch

PASSWORD, TOKEN, KEY, CONSOLE = "MARK-password-1f7a", "MARK-token-9c3e", "MARK-ssh-key-77d0", "MARK-vnc-5b21"
#: Processes that the look must have seen.
WORDS = (b"backup", b"restore", b"gateway", b"market/onebackup/import")
DISKS = (Disk(4, "qcow2", random=True), Disk(2, "raw", random=True))


@pytest.fixture
def own_site(fresh_front_end: FrontEnd, tmp_path: Path, http_market_server: HttpMarket) -> Iterator[Site]:
    made = Site(fresh_front_end, tmp_path / "site", http_market_server)
    yield made
    made.close()


class Story:
    """`said`: everything that a command of ours has written."""

    def __init__(self, site: Site, store: servers.S3Server) -> None:
        self.site, self.store, self.said = site, store, ""
        self.client = boto3.client(
            "s3", endpoint_url=store.endpoint, region_name="us-east-1", aws_access_key_id=store.access_key,
            aws_secret_access_key=store.secret_key,
        )  # fmt: skip
        for bucket in ("stock", "depot"):
            self.client.create_bucket(Bucket=bucket)
        self.credentials = site.folder / "credentials"
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {store.access_key}\naws_secret_access_key = {store.secret_key}\n"
        )
        self.credentials.chmod(0o600)
        self.key_file = site.folder / "repository.key"
        self.stock = self._stock_market()

    def _stock_market(self) -> int:
        values = {
            "NAME": unique("s3"), "MARKET_MAD": "s3", "BUCKET": "stock", "REGION": "default", "AWS": "NO",
            "ACCESS_KEY_ID": self.store.access_key, "SECRET_ACCESS_KEY": self.store.secret_key,
            "ENDPOINT": self.store.endpoint, "FORCE_PATH_STYLE": "YES",
        }  # fmt: skip
        return int(self.site.call("one.market.allocate", "\n".join(f'{key}="{item}"' for key, item in values.items())))

    def depot(self) -> Depot:
        template = {
            "ENDPOINT": self.store.endpoint, "CREDENTIALS_FILE": str(self.credentials), "KEY_FILE": str(self.key_file)
        }  # fmt: skip
        return Depot(self.site, "s3://depot/backups", template)

    def machine(self, market: int) -> int:
        more = (
            f'CONTEXT=[PASSWORD="{PASSWORD}", API_TOKEN="{TOKEN}", SSH_PRIVATE_KEY="-----BEGIN KEY-----{KEY}"]\n'
            f'GRAPHICS=[TYPE="VNC", PASSWD="{CONSOLE}"]'
        )
        section = f'FREQUENCY_SECONDS="86400", MARKETPLACE_ID="{market}"'
        return machines.machine(self.site, DISKS, machines.POWEROFF, backup=section, more=more)

    def run(self, *arguments: object, code: int = 0) -> Result:
        done = self.site.onebackup(*arguments)
        self.said += done.out + done.err
        assert done.code == code, done
        return done

    def stored(self) -> Iterator[tuple[str, bytes]]:
        for bucket in ("stock", "depot"):
            for item in self.client.list_objects_v2(Bucket=bucket).get("Contents", []):
                yield f"{bucket}/{item['Key']}", self.client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()


def test_secrets_show_nowhere(own_site: Site, tmp_path: Path) -> None:
    site = own_site
    with servers.s3_server(tmp_path / "s3") as store:
        story = Story(site, store)
        one_auth = Path(site.front_end.environment["ONE_AUTH"]).read_text().strip().split(":", 1)[1]
        of_clouds = [store.secret_key, one_auth]
        of_tenants = [PASSWORD, TOKEN, KEY, CONSOLE]
        with secrets_watch.Sampler(of_clouds + of_tenants, str(site.location)) as sampler:
            depot = story.depot()
            try:
                _tell(story, depot)
            finally:
                depot.stop_gateway()
        repository_key = keys.export(keys.load(story.key_file))
        everything = [*of_clouds, *of_tenants, repository_key]

        assert sampler.leaks == []
        assert {word for line in sampler.commands for word in WORDS if word in line} == set(WORDS)
        assert secrets_watch.found_in(story.said.encode(), everything) == []
        own = {story.credentials, story.key_file}
        for path in secrets_watch.files(site.location, site.folder):
            shown = secrets_watch.found_in(path.read_bytes(), everything)
            assert path in own or not shown, (path, shown)
            if path in own:
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        for name, content in story.stored():
            assert secrets_watch.found_in(content, everything) == [], name
        _check_front_end(site, everything, of_tenants)


def _tell(story: Story, depot: Depot) -> None:
    site = story.site
    first, second = story.machine(depot.market), story.machine(story.stock)
    log = site.location / "var" / "run.log"
    story.run("run", "--logger", log)
    story.run("backup", first, "--force", "-v")
    site.front_end.control("next", what="saveas", result="fail", times=1)
    story.run("backup", second, "--force", "--logger", log, code=1)
    story.run("restore", first, "-d", "default", "--no-start", "-v")
    story.run("restore", second, "-d", "default", "--no-start")
    for words in (("list",), ("list", "--json"), ("status", "--json"), ("plan", "--json"), ("recover",)):
        story.run(*words)
    for verb in ("list", "status", "verify"):
        done = depot.command(verb)
        story.said += done.out + done.err
    done = site.onebackup("doctor")
    story.said += done.out + done.err
    market = depot.make_market(KEY_FILE=str(story.key_file) + ".missing")
    machines.backup_section(site, first, f'FREQUENCY_SECONDS="86400", MARKETPLACE_ID="{market}"')
    story.run("backup", first, "--force", "-v", code=1)
    assert log.read_text().count("Saving VM as template") >= 3


def _check_front_end(site: Site, everything: list[str], of_tenants: list[str]) -> None:
    """CONTEXT is where it has to be to be restored: in the VMTEMPLATE app, which nobody but its owner may read."""
    holders = 0
    for app_id in site.apps():
        app = site.info("marketapp", app_id)
        text = site.call("one.marketapp.info", app_id)
        coded = ("APPTEMPLATE64", "TEMPLATE/APPTEMPLATE64", "TEMPLATE/ONEBACKUP_VM")
        inside = "".join(manifest.decode(app.findtext(path) or "") for path in coded)
        shown = secrets_watch.found_in((text + inside).encode(), everything)
        assert set(shown) <= set(of_tenants) - {PASSWORD}, app_id
        if shown:
            holders += 1
            assert app.findtext("TYPE") == "2" and app.findtext("UID") == "0"
            rights = {item.tag: item.text for item in app.findall("PERMISSIONS/*")}
            assert rights["OWNER_U"] == "1"
            assert [rights[f"{who}_{what}"] for who in ("GROUP", "OTHER") for what in "UMA"] == ["0"] * 6, rights
    assert holders >= 2
    for machine in site.pool("vm"):
        told = machine.find("USER_TEMPLATE/ONEBACKUP")
        text = "" if told is None else "".join(item.text or "" for item in told)
        assert secrets_watch.found_in(text.encode(), everything) == []


def test_a_look_finds_what_there_is(tmp_path: Path) -> None:
    """The looks themselves: a secret in a command line and in Base64 is seen."""
    assert secrets_watch.found_in(b"x" + payload.base64.b64encode(b"ab" + TOKEN.encode()), [TOKEN]) == [TOKEN]
    with secrets_watch.Sampler([TOKEN], "the-mark") as sampler:
        subprocess.run(["sh", "-c", "sleep 0.5", "the-mark", TOKEN], check=True)
    assert any(TOKEN in leak for leak in sampler.leaks)
