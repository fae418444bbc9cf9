# SPDX-License-Identifier: Apache-2.0
"""The driver as oned starts it: real images, a real repository, a real gateway."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.market import driving
from tests.market.driving import Front

MIB = 1024 * 1024


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    made = Front(tmp_path / "one", {"REPOSITORY": f"dir:{tmp_path / 'repository'}"})
    made.configure()
    assert made.onebackup("repository", "create", made.market["REPOSITORY"]).code == 0
    yield made
    if made.process is not None:
        made.stop_gateway()


def disk(path: Path, seed: int = 1, size_mb: int = 24, image_format: str = "raw") -> Path:
    """A sparse disk: 3 MiB of noise, of which half is the same for all seeds."""
    raw = path.with_suffix(".new")
    with open(raw, "wb") as stream:
        stream.write(random.Random(0).randbytes(3 * MIB // 2))
        stream.seek(9 * MIB + 4096 * seed)
        stream.write(random.Random(seed).randbytes(3 * MIB // 2))
        stream.truncate(size_mb * MIB)
    if image_format == "raw":
        return raw.rename(path)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", image_format, str(raw), str(path)], check=True)
    raw.unlink()
    return path


def manifests(front: Front) -> list[str]:
    return sorted(path.name for path in (Path(front.market["REPOSITORY"][4:]) / "manifests").iterdir())


def download(front: Front, source: str, path: Path) -> str:
    """As a stock front-end fetches it; the MD5 of the file."""
    if front.process is None:
        front.start_gateway()
    done = subprocess.run(
        ["curl", "--fail", "-sS", "-k", "-L", "-o", str(path), front.served(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return hashlib.md5(path.read_bytes()).hexdigest()


def same_disk(path: Path, image_format: str, other: Path, other_format: str) -> None:
    argv = ["qemu-img", "compare", "-f", image_format, "-F", other_format, str(path), str(other)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_what_is_imported_can_be_downloaded(front: Front, tmp_path: Path, image_format: str) -> None:
    image = disk(tmp_path / "image", image_format=image_format)
    values = front.import_(image, image_format).values
    assert set(values) == {"SOURCE", "MD5", "SIZE", "FORMAT"}
    assert (values["SIZE"], values["FORMAT"]) == ("24", image_format)
    name = rf"[0-9a-f]{{32}}/[0-9TZ]+-[0-9a-f]{{32}}/disk\.{image_format}"
    assert re.fullmatch(rf"http://127\.0\.0\.1:2690/{name}", values["SOURCE"])
    assert download(front, values["SOURCE"], tmp_path / "back") == values["MD5"]
    same_disk(image, image_format, tmp_path / "back", image_format)
    if image_format == "qcow2":
        assert (tmp_path / "back").stat().st_size < 4 * MIB
        subprocess.run(["qemu-img", "check", "-f", "qcow2", str(tmp_path / "back")], check=True, capture_output=True)


def test_an_image_over_a_backing_file_and_a_compressed_one(front: Front, tmp_path: Path) -> None:
    base = disk(tmp_path / "base", 2, image_format="qcow2")
    top, packed = tmp_path / "top", tmp_path / "packed"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(top)], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 5M 100k", str(top)], check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", str(top), str(packed)], check=True)
    for image in (top, packed):
        values = front.import_(image, "qcow2").values
        assert download(front, values["SOURCE"], tmp_path / "back") == values["MD5"]
        same_disk(tmp_path / "back", "qcow2", top, "qcow2")


def test_the_next_day_stores_only_what_changed(front: Front, tmp_path: Path) -> None:
    first = front.import_(disk(tmp_path / "image", 1), "raw").values
    disk(tmp_path / "image", 2)
    second = front.import_(tmp_path / "image", "raw").values
    listed = front.onebackup("repository", "list", front.market["REPOSITORY"], "--json").out
    assert f'"parent": "{first["SOURCE"].split("/")[4]}"' in listed
    assert download(front, second["SOURCE"], tmp_path / "back") == second["MD5"]
    # without this front-end's memory of it, the parent is found in the repository
    (note,) = (front.state / "parents").rglob("0-7-0")
    note.unlink()
    third = front.import_(tmp_path / "image", "raw").values
    shown = front.onebackup("repository", "show", front.market["REPOSITORY"], third["SOURCE"].split("/")[4]).out
    assert second["SOURCE"].split("/")[4] in shown and re.search(r"^stored_bytes +0$", shown, re.MULTILINE)


def test_delete_is_idempotent_and_leaves_the_others(front: Front, tmp_path: Path) -> None:
    first, second = (front.import_(disk(tmp_path / "image", seed), "raw").values for seed in (1, 2))
    for _ in range(2):
        assert front.delete(first["SOURCE"]) == driving.Answer(0, "", "")
    assert manifests(front) == [second["SOURCE"].split("/")[4]]
    assert download(front, second["SOURCE"], tmp_path / "back") == second["MD5"]
    gone = subprocess.run(["curl", "-sS", "--fail", front.served(first["SOURCE"])], capture_output=True)
    assert gone.returncode == 22
    assert front.delete("") == driving.Answer(0, "", "")
    assert "is no restore point" in front.delete("http://127.0.0.1/elsewhere").reason
    assert "has another one" in front.delete(second["SOURCE"].replace(second["SOURCE"].split("/")[3], "0" * 32)).reason
    assert len(manifests(front)) == 1


def test_monitor(front: Front, tmp_path: Path) -> None:
    values = front.monitor().values
    assert set(values) == {"USED_MB", "FREE_MB", "TOTAL_MB"}
    used, free, total = (int(values[name]) for name in ("USED_MB", "FREE_MB", "TOTAL_MB"))
    status = os.statvfs(tmp_path)
    assert used + free == total and abs(free - status.f_bavail * status.f_frsize // MIB) < 512
    front.market["PUBLISH_CATALOGUE"] = "yes"
    imported = [
        front.import_(disk(tmp_path / "image", seed), "raw", f'the "app" {seed}', RUN=f"{seed:032x}").values
        for seed in (1, 2)
    ]
    lines = re.findall(r'^APP="(.*)"$', front.monitor().out, re.MULTILINE)
    apps = [base64.b64decode(line).decode() for line in lines]
    assert len(apps) == 2
    apps.sort(key=lambda app: f"{2:032x}" in app)
    for app, values, seed in zip(apps, imported, (1, 2)):
        for name in ("SOURCE", "MD5", "SIZE", "FORMAT"):
            assert f'{name}="{values[name]}"' in app
        assert f'NAME="the \\"app\\" {seed}"' in app and f'RUN="{seed:032x}"' in app and 'TYPE="IMAGE"' in app


def test_no_app_is_listed_while_one_cannot_be(front: Front, tmp_path: Path) -> None:
    front.market["PUBLISH_CATALOGUE"] = "yes"
    front.import_(disk(tmp_path / "image"), "raw").values  # noqa: B018
    large = disk(tmp_path / "large", 3, 4000)
    running = front.begin("import", front.import_xml(large, "raw", "large"))
    until(lambda: any((front.state / "tmp").glob("*")) or _lock_is_held(front))
    running.send_signal(signal.SIGSTOP)
    try:
        answer = front.monitor()
        assert answer.code == 0 and "USED_MB" in answer.out and "APP" not in answer.out
    finally:
        running.kill()
        driving.ended(running)
    assert front.monitor().out.count("APP=") == 1


def _lock_is_held(front: Front) -> bool:
    held = Path("/proc/locks").read_text()
    return any(f":{path.stat().st_ino} " in held for path in (front.state / "locks").glob("repository-*"))


def until(condition: object, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_import_leaves_no_restore_point(front: Front, tmp_path: Path, number: signal.Signals) -> None:
    image = disk(tmp_path / "image", 1, 8000)  # read back as raw: long enough to be hit
    running = front.begin("import", front.import_xml(image, "raw"))
    until(lambda: _lock_is_held(front))
    time.sleep(0.1)
    running.send_signal(number)
    answer = driving.ended(running)
    assert answer.code == (-number if number == signal.SIGKILL else 128 + number) and answer.out == ""
    assert manifests(front) == []
    if number == signal.SIGTERM:
        assert "nothing was stored" in answer.reason
    small = disk(tmp_path / "small", 2)
    values = front.import_(small, "raw").values
    assert download(front, values["SOURCE"], tmp_path / "back") == values["MD5"]


def test_fifteen_imports_beside_monitors(front: Front, tmp_path: Path) -> None:
    images = [disk(tmp_path / f"image{seed}", seed, image_format="qcow2") for seed in range(15)]
    running = [
        front.begin("import", front.import_xml(image, "qcow2", f"app {seed}", VM_ID=str(seed)))
        for seed, image in enumerate(images)
    ]
    looks = [front.monitor() for _ in range(3)]
    values = [driving.ended(process).values for process in running]
    assert all(look.code == 0 for look in looks)
    assert len(manifests(front)) == len({item["SOURCE"] for item in values}) == 15
    for image, item in zip(images, values):
        assert download(front, item["SOURCE"], tmp_path / "back") == item["MD5"]
        same_disk(image, "qcow2", tmp_path / "back", "qcow2")
    assert front.onebackup("repository", "verify", front.market["REPOSITORY"]).code == 0


# -- what must not become a restore point


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
    until(lambda: _lock_is_held(front))
    while running.poll() is None:
        with open(image, "r+b") as stream:
            stream.write(os.urandom(16))
        time.sleep(0.01)
    assert "changed while it was read" in driving.ended(running).reason
    assert manifests(front) == []


def test_what_the_downloader_brings(front: Front, tmp_path: Path) -> None:
    """The door lies in a remotes tree here, with a downloader.sh that copies, or fails after a part."""
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
