# SPDX-License-Identifier: Apache-2.0
"""Marketplaces and apps: drivers run, data really stored and fetched, deletion by version."""
from __future__ import annotations

import base64
import hashlib
import urllib.request
from pathlib import Path

import pytest

from sandbox.process import FrontEnd, start
from sandbox.world import disks
from tests.conftest import HttpMarket
from tests.sandbox import driving
from tests.sandbox.driving import ERROR, READY

APP_READY, APP_ERROR, APP_DISABLED = ("1", None), ("3", None), ("4", None)


def http_market(front_end: FrontEnd, server: HttpMarket) -> int:
    text = f'NAME="{driving.name("market")}"\nMARKET_MAD="http"\nBASE_URL="{server.url}"\n'
    return int(front_end.call("one.market.allocate", text + f'PUBLIC_DIR="{server.public_dir}"'))


def app(front_end: FrontEnd, market: int, image: int, wanted: driving.State = APP_READY) -> int:
    text = f'NAME="{driving.name("app")}"\nTYPE="IMAGE"\nORIGIN_ID="{image}"'
    number = int(front_end.call("one.marketapp.allocate", text, market))
    driving.wait(front_end, "marketapp", number, wanted)
    return number


@pytest.mark.both_versions
def test_an_image_goes_to_the_market_and_comes_back(front_end: FrontEnd, http_market_server: HttpMarket) -> None:
    image = driving.image(front_end)
    number = app(front_end, http_market(front_end, http_market_server), image)
    found = driving.xml(front_end, "marketapp", number)
    url = str(found.findtext("SOURCE"))
    with urllib.request.urlopen(url) as answer:
        assert hashlib.md5(answer.read()).hexdigest() == found.findtext("MD5")
    text = f'NAME="{driving.name("restored")}"\nFROM_APP="{number}"\nDEV_PREFIX="vd"'
    restored = front_end.call("one.image.allocate", text, 1)
    driving.wait(front_end, "image", restored, READY)
    shas = [disks.content_sha256(Path(str(driving.xml(front_end, "image", item).findtext("SOURCE"))), "qcow2")
            for item in (image, restored)]
    assert shas[0] == shas[1]
    front_end.call("one.marketapp.delete", number)
    stored = http_market_server.public_dir / url.rsplit("/", 1)[1]
    driving.until(lambda: not stored.exists())


@pytest.mark.both_versions
def test_deleting_a_market_with_apps(front_end: FrontEnd, version: str, http_market_server: HttpMarket) -> None:
    market = http_market(front_end, http_market_server)
    number = app(front_end, market, driving.image(front_end))
    stored = list(http_market_server.public_dir.iterdir())
    if version == "6.4":
        front_end.call("one.market.delete", market)
        with driving.refused(1024, "Error getting marketplaceapp"):
            front_end.call("one.marketapp.info", number)
        driving.until(lambda: not any(path.exists() for path in stored))
        return
    with driving.refused(2048, f"Cannot delete marketplace. marketplace  {market} is not empty."):
        front_end.call("one.market.delete", market)
    assert driving.state(front_end, "marketapp", number) == APP_READY


def test_the_image_is_held_during_the_import(front_end: FrontEnd, http_market_server: HttpMarket) -> None:
    market, image = http_market(front_end, http_market_server), driving.image(front_end)
    front_end.control("slow", what="import", seconds=0.4)
    text = f'NAME="{driving.name("app")}"\nTYPE="IMAGE"\nORIGIN_ID="{image}"'
    number = front_end.call("one.marketapp.allocate", text, market)
    assert driving.state(front_end, "image", image) == ("2", None)
    with driving.refused(2048, "Cannot delete image. There are 0 VMs using it."):
        front_end.call("one.image.delete", image)
    driving.wait(front_end, "marketapp", number, APP_READY)
    assert driving.state(front_end, "image", image) == READY


def test_a_missing_public_directory_makes_an_error_app(front_end: FrontEnd) -> None:
    text = f'NAME="{driving.name("m")}"\nMARKET_MAD="http"\nBASE_URL="http://127.0.0.1:9/"\nPUBLIC_DIR="/none/such"'
    number = app(front_end, front_end.call("one.market.allocate", text), driving.image(front_end), APP_ERROR)
    assert "Error importing app into marketplace" in str(
        driving.xml(front_end, "marketapp", number).findtext("TEMPLATE/ERROR"))


@pytest.mark.parametrize(("text", "message"), [
    ('MARKET_MAD="nosuch"', 'MARKET_MAD_CONF named "nosuch" is not defined in oned.conf'),
    ('MARKET_MAD="http"\nBASE_URL="http://x"', "PUBLIC_DIR"), ("A=1", "MARKET_MAD"),
])
def test_what_is_no_market(front_end: FrontEnd, text: str, message: str) -> None:
    with driving.refused(16384, message):
        front_end.call("one.market.allocate", f'NAME="{driving.name("m")}"\n{text}')


def test_public_markets_take_no_apps(front_end: FrontEnd) -> None:
    with driving.refused(2048, "Create disabled for market: OpenNebula Public"):
        front_end.call("one.marketapp.allocate", f'NAME="{driving.name("a")}"\nORIGIN_ID="-1"\nTYPE="VMTEMPLATE"', 0)


def test_apps_are_disabled_updated_and_owned(front_end: FrontEnd, http_market_server: HttpMarket) -> None:
    market = http_market(front_end, http_market_server)
    text = f'NAME="{driving.name("t")}"\nTYPE="VMTEMPLATE"\nORIGIN_ID="-1"\nVERSION="1"'
    number = front_end.call("one.marketapp.allocate", text, market)
    front_end.call("one.marketapp.enable", number, False)
    assert driving.state(front_end, "marketapp", number) == APP_DISABLED
    front_end.call("one.marketapp.enable", number, True)
    front_end.call("one.marketapp.update", number, 'VERSION="2"\nSOURCE="evil"\nMINE="x"', 1)
    found = driving.xml(front_end, "marketapp", number)
    assert (found.findtext("VERSION"), found.findtext("SOURCE"), found.findtext("TEMPLATE/MINE")) == ("2", "", "x")
    user, session = driving.user(front_end)
    with driving.refused(512, f"User [{user}] : Not authorized to perform MANAGE MARKETPLACEAPP [{number}]."):
        front_end.call("one.marketapp.delete", number, session=session)


def test_a_driver_of_our_own_is_run_as_recorded(tmp_path: Path) -> None:
    remotes, seen = tmp_path / "remotes", tmp_path / "seen"
    driver = remotes / "market" / "mine" / "import"
    driver.parent.mkdir(parents=True)
    driver.write_text(f"#!/bin/sh\nprintf '%s' \"$1\" > {seen}\nenv > {seen}.env\n"
                      'echo \'SOURCE="mine://1" MD5="0" SIZE="3" FORMAT="raw"\'\n')
    driver.chmod(0o755)
    (driver.parent / "monitor").write_text(
        "#!/bin/sh\necho 'USED_MB=1 FREE_MB=2 TOTAL_MB=3'\necho 'APP=\"" + base64.b64encode(
            b'NAME="listed"\nSOURCE="mine://2"\nMD5="9"\nSIZE="7"\nFORMAT="raw"\nTYPE="IMAGE"').decode() + "\"'\n")
    (driver.parent / "monitor").chmod(0o755)
    with start(tmp_path / "one", speed=20, remotes=remotes) as front_end:
        market = front_end.call("one.market.allocate", 'NAME="mine"\nMARKET_MAD="mine"')
        number = app(front_end, market, driving.image(front_end))
        assert driving.xml(front_end, "marketapp", number).findtext("SOURCE") == "mine://1"
        request = base64.b64decode(seen.read_text()).decode()
        for element in ("<MARKET_DRIVER_ACTION_DATA>", "<MARKETPLACEAPP>", "<IMAGE>", "<DATASTORE>", "<IMPORT_SOURCE>"):
            assert element in request
        names = {line.split("=")[0] for line in Path(f"{seen}.env").read_text().splitlines()} - {"_", "SHLVL", "OLDPWD"}
        assert names == {"HOME", "LOGNAME", "ONE_XMLRPC", "PATH", "PWD", "USER"}
        driving.until(lambda: "listed" in front_end.call("one.marketapppool.info", -2, -1, -1))
        driving.until(lambda: driving.xml(front_end, "market", market).findtext("TOTAL_MB") == "3")
        text = f'NAME="back"\nFROM_APP="{number}"'
        image = front_end.call("one.image.allocate", text, 1)
        driving.wait(front_end, "image", image, ERROR)
