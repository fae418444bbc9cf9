# SPDX-License-Identifier: Apache-2.0
"""What must not become a restore point, and what an import does besides."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.market import driving
from tests.market.disks import MIB, disk, download, is_importing, manifests, until
from tests.market.driving import Front


def refused(front: Front, xml: str) -> str:
    reason = front.run("import", xml).reason
    assert manifests(front) == []
    return reason


def test_images_that_cannot_be_had(front: Front, tmp_path: Path) -> None:
    image = disk(tmp_path / "image", image_format="qcow2")
    assert "No such file" in refused(front, front.import_xml(tmp_path / "nothing", "raw"))
    assert "neither a file" in refused(front, front.import_xml(tmp_path, "raw"))
    assert "FORMAT" in refused(front, front.import_xml(image, ""))
    assert "downloader.sh" in refused(front, front.import_xml("ssh://host:/var/lib/one/image", "raw"))
    cut = tmp_path / "cut"
    cut.write_bytes(image.read_bytes()[: 2 * MIB])
    assert "cut off" in refused(front, front.import_xml(cut, "qcow2"))
    (tmp_path / "empty").touch()
    assert "ends early" in refused(front, front.import_xml(tmp_path / "empty", "raw"))
    short = front.import_xml(disk(tmp_path / "short"), "raw").replace("<SIZE>1</SIZE>", "<SIZE>25</SIZE>")
    assert "ends early: it has 25165824 bytes, 25 MiB" in refused(front, short)
    for length in (3 * 65536, 5 * 65536, 20 * 65536):
        cut.write_bytes(image.read_bytes()[:length])
        assert "cut" in refused(front, front.import_xml(cut, "qcow2"))
    noise = tmp_path / "noise"
    noise.write_bytes(b"x" * 70000)
    assert "no qcow2 image" in refused(front, front.import_xml(noise, "qcow2"))


def test_files_outside_the_datastore_are_no_part_of_an_image(front: Front, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "datastore"
    secret.write_bytes(b"password" * 1024)
    folder.mkdir()
    image = folder / "image"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(image)], check=True)
    assert str(secret) in refused(front, front.import_xml(image, "qcow2"))
    outside = folder / "outside"
    options = ["-o", f"data_file={tmp_path / 'data'}", str(outside), "1M"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options], check=True)
    assert "another file" in refused(front, front.import_xml(outside, "qcow2"))


def test_a_source_that_changes_while_it_is_read(front: Front, tmp_path: Path) -> None:
    image = disk(tmp_path / "image", 1, 8000)
    running = front.begin("import", front.import_xml(image, "raw"))
    until(lambda: is_importing(front))
    while running.poll() is None:
        with open(image, "r+b") as stream:
            stream.write(os.urandom(16))
        time.sleep(0.01)
    assert "changed while it was read" in driving.ended(running).reason
    assert manifests(front) == []


def test_what_the_downloader_brings(front: Front, tmp_path: Path) -> None:
    """The door lies in a remotes tree here, with a downloader.sh that copies, or fails after a part.

    What an import that was killed has fetched goes with the next one."""
    left = front.state / "tmp" / "onebackup-import-killed"
    left.mkdir(parents=True)
    (left / ".owner").touch()
    (left / "image").write_bytes(bytes(100))
    remotes, image = tmp_path / "remotes", disk(tmp_path / "image", image_format="qcow2")
    (remotes / "datastore").mkdir(parents=True)
    (remotes / "market" / "onebackup").mkdir(parents=True)
    door = remotes / "market" / "onebackup" / "import"
    door.write_text((driving.ROOT / "remotes" / "market" / "onebackup" / "import").read_text())
    downloader = remotes / "datastore" / "downloader.sh"
    word = base64.b64encode(front.import_xml(f"ssh://host:{image}", "qcow2").encode()).decode()
    for script, works in (
        ('cp "${2#ssh://host:}" "$3"', True),
        ('head -c 70000 "${2#ssh://host:}" > "$3"; echo "lost the host" >&2; exit 1', False),
        ('head -c 70000 "${2#ssh://host:}" > "$3"', False),
    ):
        downloader.write_text(f"#!/bin/sh\n{script}\n")
        downloader.chmod(0o755)
        argv = [sys.executable, "-I", str(door), word, "5"]
        answer = driving.ended(front._start(argv))
        assert (answer.code == 0) == works, answer
        assert not any((front.state / "tmp").iterdir())
        if works:
            assert download(front, answer.values["SOURCE"], tmp_path / "back") == answer.values["MD5"]
        else:
            assert answer.reason
    assert len(manifests(front)) == 1


def test_the_image_is_disposed_of_even_when_nothing_is_set_up(front: Front, tmp_path: Path) -> None:
    for mistake in ("marketplace", "configuration", "terminated"):
        image = disk(tmp_path / mistake, size_mb=4000)
        xml = front.import_xml(image, "raw", more=f"<DISPOSE>YES</DISPOSE><DISPOSE_CMD>rm -f {image}</DISPOSE_CMD>")
        if mistake == "marketplace":
            xml = xml.replace(front.market["REPOSITORY"], "dir:/nowhere")
        front.configure(**({"no_such_option": 1} if mistake == "configuration" else {}))
        running = front.begin("import", xml)
        if mistake == "terminated":
            until(lambda: is_importing(front))
            running.terminate()
        assert driving.ended(running).reason
        assert not image.exists() and manifests(front) == []


@pytest.mark.parametrize("works", [True, False])
def test_the_image_is_disposed_of(front: Front, tmp_path: Path, works: bool) -> None:
    image = disk(tmp_path / "image")
    command = f"<DISPOSE>YES</DISPOSE><DISPOSE_CMD>rm -f {image}</DISPOSE_CMD>"
    xml = front.import_xml(image, "raw" if works else "qcow2", more=command)
    assert (front.run("import", xml).code == 0) == works
    assert not image.exists() and len(manifests(front)) == works


def test_marketplaces_that_are_not_set_up(front: Front, tmp_path: Path) -> None:
    image = disk(tmp_path / "image")
    for template, words in (
        ({}, "no REPOSITORY"),
        ({"REPOSITORY": "ftp://x"}, "neither dir:/path nor"),
        ({"REPOSITORY": f"dir:{tmp_path / 'elsewhere'}"}, "there is no repository at"),
        ({"REPOSITORY": front.market["REPOSITORY"], "KEY_FILE": "/nowhere"}, "cannot read the key file"),
        ({"REPOSITORY": front.market["REPOSITORY"], "COMPRESSION_LEVEL": "high"}, "COMPRESSION_LEVEL"),
        ({"REPOSITORY": "s3://bucket/x"}, "CREDENTIALS_FILE"),
    ):
        front.market = template
        assert words in front.import_(image, "raw").reason
        assert words in front.monitor().reason


def test_keys_in_the_template_are_shown_nowhere(front: Front) -> None:
    keys = {"ACCESS_KEY_ID": "K", "SECRET_ACCESS_KEY": "hidden"}
    front.market = {"REPOSITORY": "s3://b/x", "ENDPOINT": "http://127.0.0.1:9", **keys}
    answer = front.monitor()
    assert answer.code != 0 and "hidden" not in answer.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="block devices need root")
def test_a_block_device(front: Front, tmp_path: Path) -> None:
    image = disk(tmp_path / "image")
    found = subprocess.run(["losetup", "-f", "--show", "-r", str(image)], capture_output=True, text=True)
    if found.returncode != 0:
        pytest.skip(f"no loop devices here: {found.stderr.strip()}")
    device = Path(found.stdout.strip())
    try:
        values = front.import_(device, "raw").values
    finally:
        subprocess.run(["losetup", "-d", str(device)], check=True)
    assert download(front, values["SOURCE"], tmp_path / "back") == values["MD5"]
    assert (tmp_path / "back").read_bytes() == image.read_bytes()
