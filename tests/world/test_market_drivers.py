# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from sandbox import servers
from sandbox.world import datastore_drivers, disks, downloader, market_drivers
from sandbox.world.errors import DriverFailed

from .conftest import DATA, Script, s3_client, write_pattern

VERSIONS = ("6.4", "7.4")
every_version = pytest.mark.parametrize("version", VERSIONS)
DUMP = """
{ printf '%s\\n' "$#" "$0" "$@"; } > {out}/argv
cat > {out}/stdin
/usr/bin/env -0 > {out}/environment
pwd > {out}/pwd
"""
ANSWER = 'echo SOURCE=\\"probe://app-1234\\"; echo MD5=\\"d41d\\"; echo SIZE=\\"512\\"; echo FORMAT=\\"qcow2\\"\n'


def request(action: str, version: str = "7.4", **market: str) -> bytes:
    """Return a recorded request with other attributes in the marketplace's template."""
    text = (DATA / f"market-{action}-{version}.xml").read_text()
    template = "".join(f"<{name}><![CDATA[{value}]]></{name}>" for name, value in market.items())
    return re.sub(
        r"(<MARKETPLACE>.*<TEMPLATE>)(.*?)(</TEMPLATE>\s*</MARKETPLACE>)",
        lambda found: found[1] + (template or found[2]) + found[3], text, flags=re.S,
    ).encode()


def with_text(xml: bytes, name: str, value: str) -> bytes:
    return re.sub(rf"<{name}>[^<]*(<!\[CDATA\[.*?\]\]>)?</{name}>".encode(),
                  f"<{name}>{escape(value)}</{name}>".encode(), xml, count=1)


def without_import_info(xml: bytes) -> bytes:
    return re.sub(rb"\s*<IMPORT_SOURCE>.*<DISPOSE_CMD/>\s*", b"", xml, flags=re.S)


def recorded_environment(version: str) -> dict[str, str]:
    lines = (DATA / f"market-env-{version}").read_text().split("\n")
    return dict(line.split("=", 1) for line in lines if line)


@every_version
def test_script_is_run_by_the_recorded_contract(
    tmp_path: Path, script: Script, environment: Mapping[str, str], version: str
) -> None:
    path = script.write("market/probe/import", DUMP.replace("{out}", str(tmp_path)) + ANSWER)
    xml = request("import", version)
    result = market_drivers.import_app("probe", script.remotes, xml, 22, environment=environment, version=version)

    assert result == market_drivers.ImportResult("probe://app-1234", "d41d", 512, "qcow2")
    count, name, encoded, identity = (tmp_path / "argv").read_text().splitlines()
    assert (count, name, identity) == ("2", str(path), "22")
    assert base64.b64decode(encoded, validate=True) == xml
    assert (tmp_path / "stdin").read_bytes() == b""
    assert (tmp_path / "pwd").read_text().strip() == environment["HOME"]
    pairs = (tmp_path / "environment").read_text().split("\0")
    seen = dict(pair.split("=", 1) for pair in pairs if pair)
    for name in ("_", "SHLVL", "OLDPWD"):  # bash's own
        seen.pop(name, None)
    recorded = recorded_environment(version)
    assert seen.keys() == recorded.keys()
    own = {"HOME": environment["HOME"], "PWD": environment["HOME"], "ONE_XMLRPC": environment["ONE_XMLRPC"]}
    assert seen == {**recorded, **own}


def test_import_info_is_appended_as_recorded() -> None:
    recorded = request("import", "7.4")
    source = "/var/lib/one/datastores/1/27b03cdfd75830ef2dbe5b87a69363e4"
    info = datastore_drivers.ImportInfo(source, "d0b3e805014504b0a90e3d73237aef2a", 512, "qcow2")
    made = market_drivers.with_import_info(without_import_info(recorded), info)
    assert re.sub(rb">\s+<", b"><", made) == re.sub(rb">\s+<", b"><", recorded)


@pytest.mark.parametrize("missing", ["SOURCE", "MD5", "SIZE", "FORMAT"])
def test_all_four_attributes_are_needed(
    script: Script, environment: Mapping[str, str], missing: str
) -> None:
    script.write("market/probe/import", f"({ANSWER.rstrip()}) | grep -v {missing}; echo {missing}='\"\"'\n")
    with pytest.raises(DriverFailed) as caught:
        market_drivers.import_app("probe", script.remotes, request("import"), 1, environment=environment)
    assert caught.value.message == "Error importing app into marketplace. Missing app attributes."


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("6.4", "INFO: import: trying ERROR: import: 3 too bad the reason second line"),
        ("7.4", "the reasonsecond line"),
    ],
)
def test_stderr_becomes_the_message_by_version(
    script: Script, environment: Mapping[str, str], version: str, message: str
) -> None:
    lines = ["INFO: import: trying", "ERROR: import: 3 too bad", "the reason", "  second line"]
    lines = lines if version != "6.4" else [line.strip() for line in lines]
    text = "".join(f"echo '{line}' >&2\n" for line in lines)
    script.write("market/probe/import", f"{ANSWER}{text}exit 3\n")
    with pytest.raises(DriverFailed) as caught:
        market_drivers.import_app(
            "probe", script.remotes, request("import"), 1, environment=environment, version=version
        )
    assert caught.value.message == f"Error importing app into marketplace: {message}"


@every_version
def test_silent_failure_unknown_driver_and_scripts_that_cannot_run(
    script: Script, environment: Mapping[str, str], version: str
) -> None:
    def message(mad: str, xml: bytes = request("import")) -> str:
        with pytest.raises(DriverFailed) as caught:
            market_drivers.import_app(mad, script.remotes, xml, 1, environment=environment, version=version)
        return caught.value.message.partition(": ")[2]

    script.write("market/probe/import", "exit 1\n")
    script.write("market/half/delete", "")
    script.write("market/closed/import", "").chmod(0o644)
    assert message("probe") == "-"
    assert message("nosuch") == "Marketplace driver 'nosuch' not available"
    assert message("half").startswith("Internal error No such file or directory")
    assert message("closed").startswith("Internal error Permission denied")
    too_long = request("import") + b" " * 100_000  # 128 KiB an argument is the kernel's limit
    assert message("probe", too_long).startswith("Internal error Argument list too long")


def test_delete_and_monitor_of_a_script(script: Script, environment: Mapping[str, str]) -> None:
    app = base64.b64encode(b'NAME="x"').decode()
    script.write("market/probe/delete", "echo gone >&2; exit 1\n")
    script.write("market/probe/monitor", f'echo USED_MB=10; echo FREE_MB="990" TOTAL_MB=1000; echo APP=\\"{app}\\"\n')
    with pytest.raises(DriverFailed, match="^Error removing app from marketplace: gone.$"):
        market_drivers.delete_app("probe", script.remotes, request("delete"), 1, environment=environment)
    found = market_drivers.monitor("probe", script.remotes, request("monitor"), 1, environment=environment)
    assert found == market_drivers.MonitorResult(10, 990, 1000, [app])
    script.write("market/probe/monitor", "echo broken >&2; exit 1\n")
    with pytest.raises(DriverFailed, match="^Error monitoring marketplace 7: broken$"):
        market_drivers.monitor("probe", script.remotes, request("monitor"), 7, environment=environment)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    disks.create(path, 40, "qcow2")
    write_pattern(path, "qcow2", 0x5A, 0, 17)
    return path


def exported(image: Path, xml: bytes) -> bytes:
    return market_drivers.with_import_info(without_import_info(xml), datastore_drivers.export(image, 40))


def test_http_market(tmp_path: Path, script: Script, image: Path, environment: Mapping[str, str]) -> None:
    public = tmp_path / "public"
    with servers.http_server(public) as web:
        market = {"MARKET_MAD": "http", "BASE_URL": web.url, "PUBLIC_DIR": str(public)}
        xml = exported(image, request("import", **market))
        result = market_drivers.import_app("http", script.remotes, xml, 3, environment=environment)

        assert re.fullmatch(re.escape(web.url) + "[0-9a-f]{32}", result.source)
        assert (result.size_mb, result.format) == (40, "qcow2")
        assert result.md5 == hashlib.md5(image.read_bytes()).hexdigest()
        downloader.fetch(downloader.Request(result.source, tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == image.read_bytes()

        space = market_drivers.monitor(
            "http", script.remotes, request("monitor", **market), 1, environment=environment
        )
        assert space.used_mb + space.free_mb == space.total_mb > 0
        assert space.app_templates == []

        delete = with_text(request("delete", **market), "SOURCE", result.source)
        market_drivers.delete_app("http", script.remotes, delete, 3, environment=environment)
        assert list(public.iterdir()) == []
        with pytest.raises(DriverFailed) as caught:
            market_drivers.delete_app("http", script.remotes, delete, 3, environment=environment, version="6.4")
        assert f"Bad formed or unavailable app source: {public}/" in caught.value.message


def test_http_market_failures_and_dispose(
    tmp_path: Path, script: Script, image: Path, environment: Mapping[str, str]
) -> None:
    market = {"MARKET_MAD": "http", "BASE_URL": "http://x", "PUBLIC_DIR": str(tmp_path / "nosuch")}
    xml = exported(image, request("import", **market))
    with pytest.raises(DriverFailed, match=f"^Error importing app into marketplace: .*Error copying {image} to "):
        market_drivers.import_app("http", script.remotes, xml, 3, environment=environment)

    (tmp_path / "nosuch").mkdir()
    command = f"<DISPOSE_CMD>rm {image}</DISPOSE_CMD>".encode()
    disposing = with_text(xml, "DISPOSE", "YES").replace(b"<DISPOSE_CMD/>", command)
    assert market_drivers.import_app("http", script.remotes, disposing, 3, environment=environment).size_mb == 40
    assert not image.exists()
    with pytest.raises(DriverFailed, match=f"Error copying {image} to "):
        market_drivers.import_app("http", script.remotes, xml, 4, environment=environment)


def test_own_script_replaces_a_built_in_driver(script: Script, environment: Mapping[str, str]) -> None:
    script.write("market/http/import", ANSWER)
    result = market_drivers.import_app("http", script.remotes, request("import"), 3, environment=environment)
    assert result.source == "probe://app-1234"


def s3_market(server: servers.S3Server, bucket: str) -> dict[str, str]:
    return {
        "MARKET_MAD": "s3", "AWS": "NO", "BUCKET": bucket, "REGION": server.region, "ENDPOINT": server.endpoint,
        "ACCESS_KEY_ID": server.access_key, "SECRET_ACCESS_KEY": server.secret_key,
        "FORCE_PATH_STYLE": "YES", "SIGNATURE_VERSION": "v4", "READ_LENGTH": "5",
    }


def test_s3_market(
    tmp_path: Path, script: Script, image: Path, environment: Mapping[str, str], s3_server: servers.S3Server
) -> None:
    market = s3_market(s3_server, "backups")
    xml = with_text(exported(image, request("import", **market)), "ID", "31")
    result = market_drivers.import_app("s3", script.remotes, xml, 31, environment=environment)

    assert result.source == "s3://backups/marketapp-31"
    client = s3_client(s3_server)
    stored = client.get_object(Bucket="backups", Key="marketapp-31")
    assert stored["ETag"].strip('"').endswith("-4"), "17 MiB and a bit in parts of 5 MiB"
    assert stored["Body"].read() == image.read_bytes()
    back = datastore_drivers.download(result.source, tmp_path / "back", market=market)
    assert back.format == "qcow2"
    assert (tmp_path / "back").read_bytes() == image.read_bytes()

    with pytest.raises(DriverFailed, match="Object 'marketapp-31' already exists."):
        market_drivers.import_app("s3", script.remotes, xml, 31, environment=environment)
    space = market_drivers.monitor("s3", script.remotes, request("monitor", **market), 1, environment=environment)
    assert (space.used_mb, space.total_mb, space.free_mb) == (18, 1048576, 1048576 - 18)

    delete = with_text(request("delete", **market), "SOURCE", result.source)
    market_drivers.delete_app("s3", script.remotes, delete, 31, environment=environment)
    assert "Contents" not in client.list_objects_v2(Bucket="backups")
    with pytest.raises(DriverFailed, match="Object 'marketapp-31' does not exist."):
        market_drivers.delete_app("s3", script.remotes, delete, 31, environment=environment)


def test_s3_market_failures(
    tmp_path: Path, script: Script, image: Path, environment: Mapping[str, str], s3_server: servers.S3Server
) -> None:
    wrong = {**s3_market(s3_server, "backups2"), "SECRET_ACCESS_KEY": "wrong"}
    with pytest.raises(DriverFailed, match="403|Forbidden"):
        market_drivers.import_app(
            "s3", script.remotes, exported(image, request("import", **wrong)), 1, environment=environment
        )
    source = "s3://backups2/nothing"
    for market, reason in ((wrong, "403"), (s3_market(s3_server, "backups2"), "404"), ({}, "are required")):
        with pytest.raises(DriverFailed, match=reason):
            datastore_drivers.download(source, tmp_path / "back", market=market, version="6.4")
    assert not (tmp_path / "back").exists()
